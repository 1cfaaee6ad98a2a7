"""Policies and profiles: what is demanded of a ROM, and where to look for it.

============  ==================================================================================
load          ``load_policies(refs, bindings)``: files and ids in, everything demanded out
models        what a policy file may say
values        the kinds of value that files may hold
requirements  the names of what a policy demands
profile       what a profile file may say; mechanisms bring the models of their own options
merge         several policies as one; no requirement is weakened unnoticed
yaml          strict YAML: each value keeps its line and column, each mistake is reported
messages      pydantic's errors in the words of the file's author
schema        JSON schemas for editors
show          the merged policy as YAML, each line with the place it comes from
============  ==================================================================================
"""
