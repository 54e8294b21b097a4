"""Every change that an operator can make: one function for each, for the command line and for any other front end.

An action takes an `ActionContext`, typed arguments, and the actor and the reason that are recorded with the change. It
returns a frozen result and raises a NijaError whose text is fit to show. It reads no settings and prints nothing.

Actions block, except where a function is `async`. An event loop runs a blocking one in a thread.
"""
