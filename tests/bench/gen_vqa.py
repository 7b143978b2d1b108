#!/usr/bin/env python3
"""Write VQA v2-like questions and annotations of any size: gen_vqa.py FOLDER [QUESTIONS] [IMAGES]

Ten answers a question, file sizes as in the release. For measuring imports:

    tests/bench/gen_vqa.py /tmp/big 440000 && /usr/bin/time -v build/hanps data import vqa \\
        --questions /tmp/big/questions.json --annotations /tmp/big/annotations.json --out /tmp/big/store
"""
import json
import os
import random
import sys

folder = sys.argv[1]
questions = int(sys.argv[2]) if len(sys.argv) > 2 else 440000
images = int(sys.argv[3]) if len(sys.argv) > 3 else 82783
random.seed(1)
os.makedirs(folder, exist_ok=True)
words = ["what", "is", "the", "a", "how", "many", "on", "in", "of", "color"] + [f"word{i}" for i in range(15000)]
answers = ["yes", "no", "1", "2"] + [f"answer {i}" for i in range(25000)]
types = ["what is the", "how many", "is the", "what color is the", "are there"] + [f"type {i}" for i in range(60)]


def pick(items):  # few are common, many are rare
    return items[min(int(random.paretovariate(0.6)) - 1, len(items) - 1)]


with open(f"{folder}/questions.json", "w") as q, open(f"{folder}/annotations.json", "w") as a:
    q.write('{"info": {"version": "2.0"}, "task_type": "Open-Ended", "questions": [')
    a.write('{"info": {"version": "2.0"}, "annotations": [')
    for n in range(questions):
        image = 1 + 5 * random.randrange(images)
        text = " ".join(pick(words) for _ in range(random.randrange(4, 10))).capitalize() + "?"
        target = pick(answers)
        human = [{"answer": target if random.random() < 0.6 else pick(answers), "answer_confidence": "yes",
                  "answer_id": i + 1} for i in range(10)]
        comma = ", " if n else ""
        q.write(comma + json.dumps({"image_id": image, "question": text, "question_id": n * 10}))
        a.write(comma + json.dumps({"question_type": pick(types), "multiple_choice_answer": target, "answers": human,
                                    "image_id": image, "answer_type": "other", "question_id": n * 10}))
    q.write("]}")
    a.write("]}")
