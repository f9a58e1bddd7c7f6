"""`manage.py` with accidents: the process can be made to die, or freeze, at a named point of the product's code."""
