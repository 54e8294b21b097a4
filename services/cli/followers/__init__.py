"""`nija followers`: lists, adds and changes the accounts that copy."""
