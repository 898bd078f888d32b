"""How a text that is no UTF-8 is recognised."""

import codecs

# How a file begins that some editors and spreadsheets write.
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
