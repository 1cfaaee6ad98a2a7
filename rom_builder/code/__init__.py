"""Evidence from programs: which addresses they spell out (gates, sinks and flows are to come)."""
