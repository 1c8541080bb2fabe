"""A fake STS that answers GetCallerIdentity."""

from helpers.http_server import Handler, serve

ANSWER = (
    b'<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
    b"<Arn>arn:aws:sts::000000000000:assumed-role/made-up/i-0</Arn><UserId>x</UserId>"
    b"<Account>000000000000</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
)


class Sts(Handler):
    def do_POST(self):  # noqa: N802: the name is the base class's.
        self.request_body()
        self.server.calls.append(self.headers["Authorization"])
        self.answer(ANSWER, "text/xml")


def sts():
    """A context: the server. `calls` holds the Authorization header of each call."""
    return serve(Sts, calls=[])
