"""Published files: where each is searched, how it is downloaded, and its digest. No torch."""
