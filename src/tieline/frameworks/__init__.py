"""The controls of SOC 2 and ISO/IEC 27001 as data, one TOML file each; `tieline.catalog.frameworks` reads them.

An id is a fact and is kept as the standard has it. Titles and `asks` are in our own words, written to be understood
at a glance; whoever needs the binding text buys the standard.
"""
