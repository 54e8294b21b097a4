"""Every change that an operator can make: one function for each, for the command line and for any other front end.

An action takes an `ActionContext` and typed arguments. Most also take the actor and the reason that are recorded with
the change. `check_keys` changes nothing, and the followers of the environment have a fixed actor, so they take neither.

An action returns a frozen result. It raises a NijaError whose text is fit to show, or RedisError when Redis fails
during the action. It reads no settings and prints nothing.

Actions block, except where a function is `async`. An event loop runs a blocking one in a thread.
"""
