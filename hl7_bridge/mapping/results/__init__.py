"""Results: what devices and laboratories tell, and the Observations and DiagnosticReports that it becomes."""
