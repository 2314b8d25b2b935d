"""A preference study: which of two images do raters choose, if one was made for them, one for somebody else, and one for nobody?"""
