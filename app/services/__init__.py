"""The use cases: each opens its units of work and knows neither SQL nor HTTP."""
