"""Holds one module for each subject, with its `router`. A route calls one query or action, and computes nothing.

The application includes every module of this folder.
"""
