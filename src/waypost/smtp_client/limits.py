"""How long a host may take, stage by stage (RFC 5321 section 4.5.3.2)."""

from __future__ import annotations

from waypost.outcome import Stage

SECONDS: dict[Stage, float] = {
    Stage.CONNECT: 30,  # postconf(5), smtp_connect_timeout
    Stage.GREETING: 300,
    Stage.EHLO: 300,  # postconf(5), smtp_helo_timeout
    Stage.STARTTLS: 300,  # postconf(5), smtp_starttls_timeout
    Stage.AUTH: 300,
    Stage.MAIL: 300,
    Stage.RCPT: 300,
    Stage.DATA: 120,
    Stage.DOT: 600,
}
"""What is waited for the answer at each stage."""

BLOCK_OCTETS = 64 * 1024
BLOCK_SECONDS = 180.0
"""What a host may take to read one block of the message (section 4.5.3.2.5)."""

STAGGER_SECONDS = 0.25
"""How long one address is tried alone before the next is tried as well (RFC 8305 section 5)."""

QUIT_SECONDS = 5.0
"""Nothing depends on the answer."""
