"""What the cases need, fetched by each language's own client and built under target/interop."""

import functools
import hashlib
import os
import shutil
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
OUT = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "interop")


def run(argv, cwd=HERE, **env):
    """Runs a build step quietly; its output is shown only when it fails."""
    done = subprocess.run(
        argv,
        cwd=cwd,
        env=dict(os.environ, **env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(
            f"interop: {' '.join(argv)} failed:\n{done.stdout.decode(errors='replace')[-4000:]}"
        )


def made(name, inputs, make):
    """The folder target/interop/<name>, made anew by make(folder) when an input file changed."""
    digest = hashlib.sha256()
    for path in inputs:
        with open(os.path.join(HERE, path), "rb") as file:
            digest.update(file.read())
    folder = os.path.join(OUT, name)
    stamp = os.path.join(folder, ".made")
    if not (os.path.exists(stamp) and open(stamp, encoding="ascii").read() == digest.hexdigest()):
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        make(folder)
        with open(stamp, "w", encoding="ascii") as file:
            file.write(digest.hexdigest())
    return folder


@functools.cache
def maven(profile, version):
    """Folder with the jars of a profile of java/pom.xml in one RocketMQ version."""
    return made(
        f"{profile}-{version}",
        ["java/pom.xml"],
        lambda folder: run(
            [
                "mvn",
                "-q",
                "-B",
                "-f",
                "java/pom.xml",
                f"-P{profile}",
                f"-Drocketmq={version}",
                "dependency:copy-dependencies",
                "-DincludeScope=runtime",
                f"-DoutputDirectory={folder}",
            ]
        ),
    )


@functools.cache
def java(profile, version):
    """Class path of our Java programs, compiled against the jars of a profile and version."""
    jars = os.path.join(maven(profile, version), "*")
    names = ["Interop", "Inbox", "Sending", "Consuming", "Restart", "Crash", "OtherBroker"]
    names += ["Transactions", "RequestReply", "Ordered", "Groups", "Tracing"]
    names += ["MqAdmin", "Relays"] if profile == "tools" else []
    sources = [f"java/src/{name}.java" for name in names]
    classes = made(
        f"classes-{profile}-{version}",
        ["java/pom.xml", *sources],
        lambda folder: run(
            [
                "javac",
                "-Xlint:all,-deprecation,-classfile,-path,-processing",
                "-Werror",
                "-proc:none",
                "-cp",
                jars,
                "-d",
                folder,
                *sources,
            ]
        ),
    )
    return f"{classes}:{jars}"


@functools.cache
def go():
    """The Go program."""
    folder = made(
        "go",
        ["go/go.mod", "go/go.sum", "go/main.go", "go/consuming.go"],
        lambda folder: run(
            ["go", "build", "-o", os.path.join(folder, "interop"), "."],
            cwd=os.path.join(HERE, "go"),
            GOFLAGS="-mod=readonly",
        ),
    )
    return os.path.join(folder, "interop")


@functools.cache
def python():
    """Folder for PYTHONPATH with the wheel of the C++ client."""
    return made(
        "python",
        ["python/requirements.txt"],
        lambda folder: run(
            [
                "python3",
                "-m",
                "pip",
                "install",
                "-q",
                "--no-deps",
                "--require-hashes",
                "--disable-pip-version-check",
                "--target",
                folder,
                "-r",
                "python/requirements.txt",
            ],
            PIP_ROOT_USER_ACTION="ignore",
        ),
    )


@functools.cache
def node():
    """The Node program, beside its node_modules."""

    def make(folder):
        for name in ("package.json", "package-lock.json", "main.js"):
            shutil.copy(os.path.join(HERE, "node", name), folder)
        run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=folder)

    folder = made("node", ["node/package.json", "node/package-lock.json", "node/main.js"], make)
    return os.path.join(folder, "main.js")


@functools.cache
def built():
    """Folder with our programs, None when they are not built."""
    for kind in ("release", "debug"):
        folder = os.path.join(os.path.dirname(OUT), kind)
        if all(
            os.path.exists(os.path.join(folder, name))
            for name in ("mqnamesrv", "mqbroker", "mqadmin")
        ):
            return folder
    return None


def binaries():
    folder = built()
    if folder is None:
        raise SystemExit(
            "interop: nothing in target/release or target/debug: run cargo build --release"
        )
    return folder


LOGBACK = """<configuration>
<appender name="F" class="ch.qos.logback.core.FileAppender"><file>${user.home}/root.log</file>
<encoder><pattern>%d %p %c{0} - %m%n</pattern></encoder></appender>
<root level="WARN"><appender-ref ref="F"/></root></configuration>
"""


def java_home_conf(folder):
    """A ROCKETMQ_HOME with the logging files that Java 4.9 programs do not start without."""
    conf = os.path.join(folder, "home", "conf")
    os.makedirs(conf, exist_ok=True)
    for name in ("namesrv", "broker", "tools"):
        with open(os.path.join(conf, f"logback_{name}.xml"), "w", encoding="ascii") as file:
            file.write(LOGBACK)
    return os.path.dirname(conf)
