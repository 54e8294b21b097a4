"""OKX's dialect of the paper exchange: routes, signature, shapes and error codes."""
