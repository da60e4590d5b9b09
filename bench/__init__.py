"""`make bench`: what Sluice does on the machine at hand, as ratios taken within one run."""
