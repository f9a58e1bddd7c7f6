"""The pages of the console: one module each, with its addresses, its views and what of it is live."""
