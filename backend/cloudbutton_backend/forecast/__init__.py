"""Forecasts of a job's time and cost on each backend, from earlier runs or from a few items."""

from cloudbutton_backend.forecast.forecast import Forecast, forecast, forecast_again

__all__ = ["Forecast", "forecast", "forecast_again"]
