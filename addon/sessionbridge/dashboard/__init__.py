"""The page, the JSON behind it, and the metrics: what an operator looks at. No mitmproxy here."""
