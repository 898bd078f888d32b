"""How a text that is not UTF-8 is recognised."""

import codecs

# The first bytes of a UTF-16 file, which some editors and spreadsheets write.
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
