"""An identity provider that changes its keys while honest clients and strangers ask.

Real providers publish a key some time before they sign with it. Where that time is at least
the cool-down, no honest token may be refused, however many fetches strangers have caused:
whoever meets the new key finds it known, or a fetch that is due. A provider that signs with a
key at once may see its tokens refused for a cool-down, and not longer.
"""

import threading
import time

from hostile_idp import COOLDOWN, key

# How long a key is published before and after it signs, in cool-downs.
AHEAD = 1.6
# A busy machine, and the fetch itself.
SLACK = 1.0


class Rotation:
    """Changes the key of a realm at a pace; the thread ends by itself."""

    def __init__(self, realm, times, pace, ahead, kept):
        self.realm, self.times, self.pace = realm, times, pace
        self.ahead, self.kept = ahead, kept
        # When which key began to sign, and the one that signs now.
        self.began, self.current = [], 0
        self.names = [key(f"{realm.name}-{n}") for n in range(times + ahead + 1)]
        self.turn(0)
        self.thread = threading.Thread(target=self.go_on, daemon=True)

    @classmethod
    def published_ahead(cls, realm, times, pace):
        return cls(realm, times, pace, ahead=int(AHEAD * COOLDOWN / pace + 1), kept=2)

    @classmethod
    def at_once(cls, realm, times, pace):
        return cls(realm, times, pace, ahead=0, kept=0)

    def turn(self, number):
        # What is published first: a token may be there the moment after.
        self.realm.publish(*self.names[max(0, number - self.kept):number + self.ahead + 1])
        self.began.append(time.monotonic())
        self.current = number

    def go_on(self):
        due = time.monotonic()
        for number in range(1, self.times + 1):
            due += self.pace
            time.sleep(max(0, due - time.monotonic()))
            self.turn(number)

    def token(self, back=0):
        """A token by the key that signs now, or one of those before it; with its number."""
        number = max(0, self.current - back)
        return self.realm.token(self.names[number]), number

    def newest_and_earlier(self):
        """Tokens for a client that has new ones and still some of the key before."""
        back = 0

        def token():
            nonlocal back
            back = 1 - back
            return self.token(back)

        return token

    def withdrawn(self):
        """Keys that were published and are no longer."""
        return self.names[:max(0, self.current - self.kept)]

    def late(self, rows):
        """Refusals of honest tokens later than a cool-down after their key began to sign."""
        return [row for row in rows
                if row[2] != "200" and row[0] > self.began[row[3]] + COOLDOWN + SLACK]

    def revived(self, rows):
        """Tokens of a withdrawn key taken later than a cool-down after the withdrawal."""
        return [row for row in rows if row[2] == "200" and row[3] + 1 < len(self.began)
                and row[0] > self.began[row[3] + 1] + COOLDOWN + SLACK]
