from __future__ import annotations
class UpdaterScript:
    def __init__(self, data: bytes): self.data=data; self.links: dict[str,str]={}
    def device_path(self, name: str) -> str|None:
        for a in ("system/","data/"):
            if name.startswith(a): return "/"+name
        if name.startswith("recovery/"): return "/system/"+name[9:]
        return None
def parse_updater_script(data: bytes) -> UpdaterScript: return UpdaterScript(data)
