"""HiFi-GAN (Kong, Kim, Bae, arXiv 2010.05646): the generator, its discriminators and the mel loss."""
