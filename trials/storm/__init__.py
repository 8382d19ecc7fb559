"""A storm of API faults: does every request end once, and is nothing paid twice?

``python -m trials.storm --calls 10000 --seed 1 --out docs/trials/storm.md``

A server of its own process (``trials.storm.server``) answers over real HTTP and draws by the seed, for each request and
attempt, what goes wrong. Our client asks everything at 512 in flight, with refusals; where an error ends a run, the
same is asked again, as a user would. A tenth as many requests go by batches, whose output files have lines twice and
lines missing. Then a naive client asks the same of the same storm: openai's asynchronous client with its defaults in a
loop that tries again on any error after two seconds, as BELLE's scripts do, up to five times.

Afterwards the server's own counts are held against the ledger. It is a fault if a request has no reply, no counted
reason and no named failure; if the server answered one whole twice; if it made a reply that never arrived whole and the
ledger does not report it as possibly paid.
"""
