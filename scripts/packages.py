#!/usr/bin/env python3
"""What would be published: makes the packages, without building them, and looks into them.

    scripts/packages.py

Each has its licences, its README and its sources, nothing else, and no dependency asks for a newer Rust than `rust-version` promises.
"""
import json
import pathlib
import subprocess
import sys
import tarfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
# In the order in which they are published. What each may hold beside what all have.
PACKAGES = {"app_kernel_macros": ("src/",), "app_kernel": ("src/",), "app_kernel_cli": ("src/", "templates/")}
IN_ALL = {"Cargo.toml", "Cargo.toml.orig", "Cargo.lock", "LICENSE-MIT", "LICENSE-APACHE", "README.md"}
# A registry takes 10 MiB; who adds a service's dependency should not wait for half of that.
MOST_BYTES = 3 * 2**20


def cargo(*arguments) -> str:
    done = subprocess.run(["cargo", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"cargo {' '.join(arguments)} failed")
    return done.stdout


def findings() -> list[str]:
    metadata = json.loads(cargo("metadata", "--format-version", "1", "--locked", "--all-features"))
    ours = {package["name"]: package for package in metadata["packages"] if package["source"] is None}
    named = [argument for name in PACKAGES for argument in ("--package", name)]
    cargo("package", *named, "--no-verify", "--allow-dirty", "--locked", "--quiet")
    found = []
    published = {name for name, package in ours.items() if package["publish"] is None}
    if published != set(PACKAGES):
        found.append(f"{sorted(published ^ set(PACKAGES))}: published and not looked at here, or the other way round")
    for name, folders in PACKAGES.items():
        found += inside(name, folders, pathlib.Path(metadata["target_directory"]) / "package", ours[name])
    promised = ours["app_kernel"]["rust_version"]
    for package in metadata["packages"]:
        needed = package["rust_version"]
        if package["source"] and needed and version(needed) > version(promised):
            found.append(f"{package['name']} {package['version']} needs Rust {needed}, and rust-version says {promised}")
    return found


def inside(name: str, folders: tuple[str, ...], place: pathlib.Path, package: dict) -> list[str]:
    root = f"{name}-{package['version']}"
    archive = place / f"{root}.crate"
    with tarfile.open(archive) as files:
        texts = {file.name.removeprefix(f"{root}/"): files.extractfile(file).read() for file in files if file.isfile()}
    found = [f"{name}: {file} is missing" for file in sorted(IN_ALL - set(texts))]
    found += [f"{name}: {file} does not belong into it" for file in texts
              if file not in IN_ALL and file != ".cargo_vcs_info.json" and not file.startswith(folders)]
    for licence in ("LICENSE-MIT", "LICENSE-APACHE"):
        if texts.get(licence) != (ROOT / licence).read_bytes():
            found.append(f"{name}: {licence} is another than that of the project")
    for field in ("description", "license", "readme", "documentation", "rust_version"):
        if not package[field]:
            found.append(f"{name}: Cargo.toml says no {field.replace('_', '-')}")
    if archive.stat().st_size > MOST_BYTES:
        found.append(f"{name}: {archive.stat().st_size / 2**20:.1f} MiB are more than it needs")
    print(f"{name} {package['version']}: {len(texts)} files, {archive.stat().st_size // 1024} KiB, Rust {package['rust_version']} or later")
    return found


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in (text.split(".") + ["0", "0"])[:3])


def main() -> int:
    found = findings()
    for finding in found:
        print(finding, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
