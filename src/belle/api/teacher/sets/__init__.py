"""The offline teacher's other half: replies for every kind of set but single-turn Self-Instruct.

- dialogue: whole dialogues, on a topic or for a given role
- roles: descriptions of roles, and what such a role says
- chat: questions of users, follow-ups, and answers to both
- reasoning: questions with steps of thought, and small talk, which the task families lack
- problems: school mathematics, worked
- crawl: tasks for a topic and a task type, as JSON
- category: which of the categories a text belongs to
- faults: ChatGPT's faults, a share of each
- answers: which of these replies a request gets
"""
