"""Prices, the most that a call can cost, bills, and estimates of them."""

from cloudbutton_backend.cost.price_list import lambda_prices, lambda_rate, storage_prices
from cloudbutton_backend.cost.rates import Rate

__all__ = ["Rate", "lambda_prices", "lambda_rate", "storage_prices"]
