"""How well lists did while they were live, and what has drifted."""
