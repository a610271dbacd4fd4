"""What a job would take and cost wherever it could run: from earlier runs, or from a few items."""

from cloudbutton_backend.forecast.forecast import Forecast, forecast, forecast_again

__all__ = ["Forecast", "forecast", "forecast_again"]
