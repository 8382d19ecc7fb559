"""What may be sent now: claimed in the ledger, within the budget, in one step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from belle.api.budget import Account, Budget
from belle.api.ledger import Claims, Ledger
from belle.api.lines import Mode
from belle.errors import BelleError


@dataclass(frozen=True)
class Order:
    """Requests (digest → the ledger's ``FIELDS``) of a stage; with ``refusals``, a refusal ends one of them."""

    requests: Mapping[str, Mapping[str, Any]]
    stage: str
    refusals: bool = False


@dataclass(frozen=True)
class Over:
    """Requests that the budget does not allow now, the error to raise if it never will, and whom to wait for."""

    digests: list[str]
    error: BelleError
    others_send: bool


class Claiming:
    """Claims requests for one sender. Blocks on the disk and on locks: to be called in a thread of its own."""

    def __init__(self, ledger: Ledger, budget: Mapping[str, Any] | None, lease_s: float) -> None:
        self._ledger, self._lease_s = ledger, lease_s
        self._account = Account(ledger.folder, Budget.from_json(budget)) if budget else None

    def close(self) -> None:
        """Close the account's files."""
        if self._account:
            self._account.close()

    def price(self, request: Mapping[str, Any], mode: Mode = "chat") -> tuple[float, ...]:
        """USD per million prompt and completion tokens; empty where there is no budget, and so no prices."""
        if self._account is None:
            return ()
        price = self._account.budget.prices.required(request["endpoint"], request["model"], mode)
        return price.prompt, price.completion

    def claim(
        self, digests: Sequence[str], order: Order, *, mode: Mode = "chat", batch: str = ""
    ) -> tuple[Claims, Over | None]:
        """Claim what the budget allows; what it does not comes back beside it.

        Raises:
            BelleError: the ledger cannot be written to, or nothing bounds what a request costs.
        """
        ledger, account, stage = self._ledger, self._account, order.stage
        terms: dict[str, Any] = {"stage": stage, "lease_s": self._lease_s, "batch": batch, "refusals": order.refusals}
        most = {digest: account.budget.most(order.requests[digest], mode) for digest in digests} if account else {}
        if not account or not any(most.values()):
            return ledger.claim(digests, **terms), None
        with account.alone():
            unknown = ledger.missing(digests, refusals=order.refusals)
            fits = account.fitting((digest, most[digest]) for digest in unknown)
            over = unknown[len(fits) :]
            out = set(over)
            claims = ledger.claim([digest for digest in digests if digest not in out], usd=fits, **terms)
            if not over:
                return claims, None
            return claims, Over(over, account.exceeded(most[over[0]]), account.others_send())

    def claim_again(self, digest: str, order: Order) -> None:
        """Reserve one more attempt at a request that may have been paid already.

        Raises:
            BelleError: the budget does not allow it.
        """
        account = self._account
        most = account.budget.most(order.requests[digest]) if account else 0.0
        if not account or not most:
            return
        with account.alone():
            if not account.fitting([(digest, most)]):
                raise account.exceeded(most)
            self._ledger.claim_again(digest, stage=order.stage, lease_s=self._lease_s, usd=most)
