"""The kinds of set that are asked for besides single-turn Self-Instruct: how requests are written and replies read.

- subjects: the seeds: topics, task types, roles, points of the curriculum
- prompt: the prompts, and a request made of one
- numbered, dialogue: replies as numbered items, and as turns
- multiturn, roles, school_math, conversations, crawl: one kind each
"""
