"""What the bridge costs and what it carries, measured side by side on loopback: `scripts/bench`."""
