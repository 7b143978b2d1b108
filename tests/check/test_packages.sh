# deploy/packages.mk is whole and nothing in it is idle: every pkg-config module, program and Python
# module that the Makefile and the scripts use comes with a listed package, and every listed package
# is there for one of them.
set -u
command -v dpkg-query >/dev/null || { echo 'no Debian packages here'; exit 77; }
exec /usr/bin/python3 - <<'EOF'
import glob, os, re, shutil, subprocess, sys

def output(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, **options).stdout

def value(name):
    return output("make", "-s", "--no-print-directory", "-f", "-", "show",
                  input=f"include Makefile\nshow: ; @echo $({name})\n").split()

listed, tools = value("PACKAGES"), value("CHECK_PACKAGES")
depends, basic = {}, set()
for line in output("dpkg-query", "-W", "-f", "${Package}\t${Depends}, ${Pre-Depends}\t${Essential}\t${Priority}\n").splitlines():
    package, needs, essential, priority = line.split("\t")
    depends[package] = {re.split(r"[ (:]", n.strip())[0] for n in re.split(r"[,|]", needs)}
    if essential == "yes" or priority == "required":
        basic.add(package)

def steps(package, wanted, limit=4):
    """Steps of dependency from one package to another; more than the limit where there is no way."""
    if package == wanted or limit < 0:
        return 0 if package == wanted else 1
    return 1 + min((steps(d, wanted, limit - 1) for d in depends.get(package, ()) if d), default=limit)

problems, used = [], set()

def claim(what, path):
    """The package that owns the path is listed, or is there because a listed one needs it."""
    real = os.path.realpath(path)
    names = {path, real} | {p[4:] for p in (path, real) if p.startswith("/usr/")} | {"/usr" + p for p in (path, real)}
    owners = {l.split(":")[0] for l in output("dpkg-query", "-S", *sorted(names)).splitlines() if ": " in l}
    if not owners:
        problems.append(f"{what}: no package owns {path}")
    elif owners & set(listed + tools):
        used.update(owners)
    elif not owners & basic:
        near, by = min((min(steps(p, o) for o in owners), p) for p in listed + tools)
        used.add(by)
        if near > 4:
            problems.append(f"{what} is in {', '.join(owners)}, which deploy/packages.mk does not list")

for module in value("MODULES") + value("TEST_MODULES"):
    claim(f"module {module}", f"{output('pkg-config', '--variable=pcfiledir', module).strip()}/{module}.pc")
claim("the C library's headers", "/usr/include/stdio.h")
claim("oneDNN's header", "/usr/include/dnnl.h")

texts = {}
for name in output("git", "ls-files", "-co", "--exclude-standard", "--", "Makefile", "deploy", "tests", ".ci", "docs").split():
    if os.path.isfile(name) and not name.endswith((".c", ".h", ".png")) and name != "tests/check/test_packages.sh":
        texts[name] = open(name, errors="replace").read()
together = "\n".join(texts.values())

imports = re.findall(r"^\s*(?:import|from) ([a-z_0-9., ]+)", together, re.M)
optional = {"torch", "torchvision"}  # what uses them skips without
for module in sorted({m.split()[0] for line in imports for m in line.split(",") if m.split()} - optional):
    for name in [m for m in (module, "google.protobuf") if m != "google"]:
        path = output("/usr/bin/python3", "-c", f"import {name}; print(getattr({name}, '__file__', '') or '')").strip()
        if "dist-packages" in path:
            claim(f"Python's {name}", path)

programs = """gcc make pkg-config mpirun protoc protoc-c python3 clang clang-format clang-tidy cppcheck shellcheck
    nm objdump git ar sed grep awk find xargs install nproc mktemp cmp ip tc"""
checkers = {"clang", "clang-format", "clang-tidy", "cppcheck", "shellcheck"}
for program in programs.split():
    if re.search(rf"(?<![\w-]){re.escape(program)}(?![\w-])", together):
        if program in checkers and not os.path.exists(f"/usr/bin/{program}"):
            continue  # `make check` installs it; `make test` does without
        claim(f"program {program}", shutil.which(program, path="/usr/bin:/usr/sbin") or f"/usr/bin/{program}")
strange = r"^[^#\"']*(?<![\w/.-])(curl|wget|xxd|jq|pgrep|pkill|killall|rsync|perl|unzip|strace|gdb|lsof|ps aux)(?![\w.-])"
for name, text in texts.items():
    if name.endswith(".sh") or text.startswith("#!/bin/"):
        problems += [f"{name}: {m.group(1)} is in no listed package" for m in re.finditer(strange, text, re.M)]

reader = {"python3-lmdb", "python3-numpy", "python3-protobuf", "protobuf-compiler"}  # of the store, in docs
idle = [p for p in listed + [t for t in tools if t in depends] if p not in used and (p not in reader or "docs/store.md" in texts)]
problems += [f"{p} is listed and nothing needs it" for p in idle]
print("\n".join(problems))
sys.exit(bool(problems))
EOF
