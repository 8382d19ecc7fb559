"""The offline teacher: an OpenAI-compatible server that answers by rule in ChatGPT's formats.

- lexicon, facts: the words and facts of the tiny world
- family: what a task family is, and which combinations are held out
- families, knowledge, sums, words, tasks: the task families, at least one for each of 11 instruction classes
- selfinstruct: replies to BELLE's Self-Instruct prompt, with a share of ChatGPT's faults
- judge: replies to a judge prompt
- answers: which of these replies a request gets
- sets: replies for every other kind of set (a package)
- server: the server, and the child process that runs it
- identity: the teacher's names in the ledger
"""
