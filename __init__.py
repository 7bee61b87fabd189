"""Makes `import qkstore` work in the folder that holds a clone called qkstore: there, Python finds this folder first.

It is the package inside: its source runs here, and its modules are looked for there. The wheel has no such file.
"""

if __name__ == "qkstore":
    from pathlib import Path

    __file__ = str(Path(__file__).parent / "qkstore" / "__init__.py")
    __path__ = [str(Path(__file__).parent)]
    exec(compile(Path(__file__).read_text(encoding="utf-8"), __file__, "exec"))
