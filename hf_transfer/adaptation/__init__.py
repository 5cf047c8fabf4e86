"""Domain adaptation: language modelling on texts of the domain, then the task."""
