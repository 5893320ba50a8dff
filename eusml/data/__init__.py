"""Images in: sources, checks, preparation, split and augmentation. Knows neither networks nor stores."""
