"""erase(): a model and a request in, a model without the request and its receipt out."""
