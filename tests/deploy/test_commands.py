"""Every command in every text for users, given to its own program's parser: nothing is called and nothing is changed."""

import collections
import contextlib
import io
import re
import shlex
import tomllib

import pytest

from helpers import paths
from helpers.commands import complete, run

RUNBOOK = paths.ROOT / "src/runbook"
DOCUMENTS = sorted([paths.ROOT / "README.md", *(paths.ROOT / ".github").glob("*.md"), *(paths.ROOT / "dashboards").glob("*.md"),
                    *paths.DEPLOY.rglob("*.md")])
# What a text is written in, by hand: the others are made from these.
SOURCES = [*(d for d in DOCUMENTS if d.name not in ("RUNBOOK.md", "REFERENCE.md")),
           *(RUNBOOK / name for name in ("kinds.toml", "reasons.toml", "alerts.md", "commands.toml", "mod.rs"))]

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.M | re.S)
CODE = re.compile(r"`([^`]+)`")
SUBSTITUTION = re.compile(r"\$\(([^()]*)\)")
# Words of the shell before a command.
BEFORE = {"do", "then", "else", "exec", "sudo", "if", "!"}
ASSIGNMENT = re.compile(r"\w+=")


def scripts(document):
    """Its fenced shell blocks, and what is between back-ticks and has several words."""
    text = document.read_text()
    for _, language, script in FENCE.findall(text):
        if language == "sh":
            yield "block", script
    for code in CODE.findall(FENCE.sub("", text)):
        if " " in code.strip():
            yield "inline", " ".join(code.split())


def lines(script):
    """The lines of a script as words, without comments and here-documents; what a quote or a backslash joins is one line."""
    pending, end = "", None
    for line in script.replace("\\\n", " ").splitlines():
        if end is not None:
            end = None if line.strip() == end else end
            continue
        pending += line + "\n"
        for substituted in SUBSTITUTION.findall(line):
            yield from lines(substituted)
        lexer = shlex.shlex(pending, posix=True, punctuation_chars="|&;()<>")
        lexer.whitespace_split, lexer.commenters = True, "#"
        try:
            words = list(lexer)
        except ValueError:  # The quote is open.
            continue
        pending = ""
        if "<<" in words:
            end = words[words.index("<<") + 1]
        yield words


def commands(script):
    """Each command of a script as its words."""
    for words in lines(script):
        command = []
        for word in [*words, ";"]:
            if set(word) <= set("|&;()"):
                while command and (command[0] in BEFORE or ASSIGNMENT.match(command[0])):
                    del command[0]
                # A loop's head, or its end.
                if command and command[0] not in ("for", "done", "fi"):
                    yield command
                command = []
            else:
                command.append(word)


def without_redirections(words):
    kept, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif set(word) <= set("<>"):
            skip = True
            if kept and kept[-1].isdecimal():
                kept.pop()
        else:
            kept.append(word)
    return kept


def program(name):
    if name == "imds-exporter":
        return paths.exporter()
    try:
        return paths.tool(name)
    except AssertionError:
        return name


def helped(words):
    """The help that a program shows when it is asked for it after these options, each of which it looks at first."""
    done = complete(program(words[0]), *words[1:], "--help", env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"})
    assert done.returncode == 0, done.stderr or done.stdout
    return done.stdout + done.stderr


def by_its_usage(words):
    """A program with subcommands: the help that it shows must be that of a command and not of a group of commands."""
    head = words[: words.index("--")] if "--" in words else words
    usage = re.search(rf"Usage:\s+{words[0]} (.*)", helped(head))[1]
    named = re.match(r"(?:[a-z]\S* )*[a-z]\S*", f"{usage} ")
    assert named and not re.search(r"SUBCOMMAND|\[command\]|<COMMAND>", usage), f"no such command: {usage}"
    assert [word for word in head[1:] if word in named[0].split()] == named[0].split(), f"no such command: {usage}"
    if "--" in words:
        parse(words[words.index("--") + 1 :])


def by_clap(words):
    helped(words)
    names = re.findall(r"(?m)^  ([a-z]+) ", helped(words[:1]))
    assert not (words[1:] and words[1][0] != "-") or words[1] in names, f"no command {words[1]}"


def by_systemd(words):
    verb = next((word for word in words[1:] if word[0] != "-"), None)
    assert re.search(rf"(?m)^  {verb}\b", helped(words)) or words[0] == "journalctl", f"no verb {verb}"


def by_running(words):
    """What only looks; what it says of its own usage would be a mistake."""
    words = [word.replace("169.254.169.254", "127.0.0.1").replace("INTERFACE", "lo") for word in words]
    said = complete(program(words[0]), *words[1:], timeout=20)
    assert not re.search(r"(?i)usage|unrecognized|unknown (option|command)|is unknown|invalid option|bad command", said.stdout + said.stderr), said


def by_jq(words):
    run(*words, input='{"items": []}')


def by_openssl(words):
    run(*words, "-help")


def by_cargo(words):
    """It looks at its arguments before it looks for the manifest. `deny` is a program of its own, which only releases need."""
    arguments = words[1:]
    if arguments[0] == "deny":
        return
    at = arguments.index("--") if "--" in arguments else len(arguments)
    if "--path" in arguments:
        done = complete("cargo", *arguments[:at], "--list")
        assert done.returncode == 0 or "unexpected argument" not in done.stderr, done.stderr
    else:
        done = complete("cargo", *arguments[:at], "--manifest-path", "/nowhere/Cargo.toml")
        assert "manifest path" in done.stderr, done.stderr
    if at < len(arguments):
        parse(["imds-exporter", *arguments[at + 1 :]])


def by_pip(words):
    run(paths.tool("python"), "-m", *words, "--help")


def by_the_aws_cli(words):
    """The command's own parser, with its parameters checked against the service's model; the call is not made."""
    import awscli.clidriver
    from awscli.customizations.commands import BasicCommand
    from botocore.validate import ParamValidator

    class Parsed(BaseException):
        pass

    def call(self, service, operation, parameters, parsed_globals):
        shape = driver.session.get_service_model(service).operation_model(operation).input_shape
        report = ParamValidator().validate(parameters, shape)
        assert not report.has_errors(), report.generate_report()
        raise Parsed

    def run(self, *arguments, **named):
        raise Parsed

    with pytest.MonkeyPatch.context() as patched, contextlib.redirect_stderr(io.StringIO()) as said:
        for variable in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE"):
            patched.delenv(variable, raising=False)
        patched.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        patched.setenv("AWS_CONFIG_FILE", "/dev/null")
        patched.chdir(paths.ROOT)
        patched.setattr(awscli.clidriver.CLIOperationCaller, "invoke", call)
        driver = awscli.clidriver.create_clidriver()
        # The commands that are no operation of a service.
        for command in descendants(BasicCommand):
            if "_run_main" in vars(command):
                patched.setattr(command, "_run_main", run)
        try:
            code = driver.main(words[1:])
        except Parsed:
            return
        except SystemExit as stopped:
            code = stopped.code
    # A command that is only named has no parameters.
    assert len(words) == 3 and "arguments are required" in said.getvalue(), f"exit {code}: {said.getvalue()}"


def descendants(parent):
    for child in parent.__subclasses__():
        yield child
        yield from descendants(child)


def of_a_container(words):
    """docker exec CONTAINER COMMAND: the command is parsed, docker's own words are these."""
    assert words[:3] == ["docker", "exec", "CONTAINER"] or " ".join(words).startswith(OF_DOCKER), "not one of docker's that are known"
    if words[1] == "exec":
        parse(words[3:])


def of_a_root(words):
    parse(words[2:])


def as_written(words):
    pass


# docker comes from no registry that the tests use, so that these are compared only. docker 28.2 knows the options of run,
# build, push, exec and restart; buildx and compose were not tried.
OF_DOCKER = ("docker run --rm --network host ", "docker build --platform linux/$arch -f deploy/Dockerfile --build-arg ", "docker push ",
             "docker buildx imagetools create -t ", "docker compose -f deploy/compose/compose.yaml up --build", "docker restart")
PARSERS = {
    "aws": by_the_aws_cli,
    "kubectl": by_its_usage,
    "helm": by_its_usage,
    "imds-exporter": by_clap,
    "systemctl": by_systemd,
    "journalctl": by_systemd,
    "cargo": by_cargo,
    "pip": by_pip,
    "jq": by_jq,
    "openssl": by_openssl,
    "docker": of_a_container,
    "chroot": of_a_root,
    **dict.fromkeys(["apt", "apt-get", "curl", "date", "git", "grep", "install", "iptables", "mkdir", "promtool", "sha256sum",
                     "timedatectl", "sleep"], helped),
    **dict.fromkeys(["chronyc", "ethtool", "getent", "ip", "ps", "ss", "sysctl"], by_running),
    # Built in, or of no package that the tests have.
    **dict.fromkeys(["cat", "echo", "export", "set", "dnf", "man", "mimirtool", "thanos", "sh", "vmagent"], as_written),
}
PATHS = {"deploy/publish", "deploy/release", "target/tools/python/bin/python", "tests/release/interface.py", "tests/run"}
# Words between back-ticks that are no commands.
NO_COMMANDS = ("server 169.254.169.123 ", "the region", "check --", "sts = ")
QUERY = re.compile(r"(count|sum|increase|max)\b *(by *)?\(")


def parse(words):
    words = without_redirections(words)
    name = words[0]
    if name in PATHS:
        assert (paths.ROOT / name).exists() or name.startswith("target/"), name
    else:
        assert name in PARSERS, f"no parser is known for {name}"
        PARSERS[name](words)


def in_texts():
    for document in DOCUMENTS:
        for kind, script in scripts(document):
            if kind == "block" or re.match(r"[a-z][\w./-]* ", script) and not script.startswith(NO_COMMANDS) or QUERY.match(script):
                yield script.strip()


# Each once.
TEXTS = list(dict.fromkeys(in_texts()))


@pytest.mark.parametrize("script", TEXTS, ids=lambda script: " ".join(script.split())[:70])
def test_every_command_is_one_for_its_program(script):
    if QUERY.match(script):
        run(paths.TOOLS / "go/bin/promtool", "--experimental", "promql", "format", script)
        return
    found = list(commands(script))
    assert found
    for words in found:
        parse(words)


@pytest.mark.parametrize("wrong", [
    "aws ec2 modify-instance-metadata-options --instance-id ID --http-put-hop-limit 2", "aws ec2 stop-instance --instance-ids ID",
    "aws iam get-role --role-name ROLE --query 'Role.[RoleId'", "kubectl get pods --all", "kubectl rollout restrat deployment NAME",
    "helm install imds-exporter deploy --create-namespaces", "imds-exporter checks", "imds-exporter check --sign",
    "systemctl restrat imds-exporter", "systemctl show --propery=Id UNIT", "journalctl --units imds-exporter", "curl --silence x",
    "jq '.items[' FILE", "iptables -t nat --lists", "ip rote get 127.0.0.1", "chronyc traking", "cargo build --relaese", "frobnicate now",
    "kubectl debug node/NODE -it --image=IMAGE -- imds-exporter checks"])
def test_a_mistake_would_be_found(wrong):
    with pytest.raises(AssertionError):
        for words in commands(wrong):
            parse(words)


def test_a_command_stands_in_one_place():
    """Long ones, which somebody would change in one place and forget in the other."""
    shared = tomllib.loads((RUNBOOK / "commands.toml").read_text())
    assert len(set(shared["commands"].values())) == len(shared["commands"])
    written = collections.Counter()
    for source in SOURCES:
        text = re.sub(r"\\\n", "", source.read_text())
        for code in re.findall(r"`([^`]+)`|^confirm = \"(.+)\"$|^\w+ = \"\"\"(.+?)\"\"\"$|^\w+ = \"(.+)\"$", text, re.M):
            command = " ".join("".join(code).split())
            if command.split()[:1] and command.split()[0] in PARSERS and len(command.split()) > 4:
                written[command] += 1
    assert [command for command, times in written.items() if times > 1] == []
