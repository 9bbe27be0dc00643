"""Sentiment: whether what somebody tells was good or bad."""

from __future__ import annotations

from palimpsest.data.choice_tasks.contents import TABLE, Content, Task

# good and bad experiences by topic
_TOLD = {
    "food": (
        "the soup tasted great, the bread was fresh, we ate every crumb, the chef is a genius, "
        "I asked for more, the sauce was perfect, dinner was a delight, the cake was heavenly, "
        "the steak was juicy, I licked the plate",
        "the soup was cold, the bread was stale, we left hungry, the chef burned it, "
        "I felt sick after, the sauce was bitter, dinner was a mess, there was hair in it, "
        "the steak was raw, I spat it out",
    ),
    "hotel": (
        "the room was spotless, the bed was soft, the view was lovely, the staff smiled, "
        "we slept well, the pool was warm, we will return, it felt like home, "
        "they upgraded us, the lobby was elegant",
        "the room was filthy, the bed was broken, the walls had mold, the staff shouted, "
        "nobody slept, the pool was green, we left early, it smelled of smoke, "
        "they lost our bags, there were bugs",
    ),
    "film": (
        "the film made us laugh, the plot was clever, the actors were superb, I watched it twice, "
        "the ending was moving, everyone clapped, a true masterpiece, the music was beautiful, "
        "I loved the hero, it won my heart",
        "the film bored us, the plot made no sense, the actors were awful, I fell asleep, "
        "the ending was stupid, everyone left early, a waste of time, the music was annoying, "
        "I hated the hero, it ruined my evening",
    ),
    "travel": (
        "the train was on time, the driver was kind, the flight was smooth, the seats were comfy, "
        "we arrived early, the ship was lovely, the guide was helpful, the beach was stunning, "
        "the trip was a dream, everything went well",
        "the train was late, the driver was rude, the flight was bumpy, the seats were torn, "
        "we missed the bus, the ship made us sick, the guide got lost, the beach was dirty, "
        "the trip was a disaster, everything went wrong",
    ),
    "goods": (
        "the phone works well, the shoes fit nicely, the price was fair, it runs like new, "
        "best purchase ever, it is very sturdy, it arrived early, my kids adore it, "
        "the battery lasts long, I recommend it",
        "the phone broke today, the shoes hurt, the price was a scam, it never worked, "
        "worst purchase ever, it fell apart, it arrived broken, my kids dislike it, "
        "the battery died, I want a refund",
    ),
    "work": (
        "my boss praised me, I got a raise, the team is friendly, I enjoy my job, "
        "we won the contract, I was promoted, the office is bright, my idea was chosen, "
        "the meeting went well, they thanked me",
        "my boss yelled at me, I lost my job, the team is hostile, I dread Mondays, "
        "we lost the contract, I was fired, the office is gloomy, my idea was mocked, "
        "the meeting was a fiasco, they ignored me",
    ),
    "health": (
        "the pain is gone, the nurse was gentle, I feel strong, the cure worked, "
        "my fever fell, the doctor listened, I slept deeply, I can walk again, "
        "the test was clear, she recovered fully",
        "the pain got worse, the nurse was rough, I feel weak, the cure failed, "
        "my fever rose, the doctor was careless, I could not sleep, I cannot walk, "
        "the tumor grew, she died young",
    ),
    "school": (
        "I passed the exam, the teacher was patient, my essay won, I made new friends, "
        "the class was fun, my grades improved, we learned a lot, they cheered for me, "
        "the lesson was inspiring, I was top of class",
        "I failed the exam, the teacher was mean, my essay was lost, I was bullied, "
        "the class was dull, my grades sank, we learned nothing, they laughed at me, "
        "the lesson was confusing, I was expelled",
    ),
}


def _sentiment() -> list[Content]:
    return [
        Content(topic=topic, fill=(told.strip(),), right=label)
        for topic, both in _TOLD.items()
        for label, texts in zip(("good", "bad"), both, strict=True)
        for told in texts.split(",")
    ]


TASKS = {
    "sentiment": Task(
        family="sentiment",
        summary="whether an experience was good or bad",
        templates=(
            "{0}. It was",
            "Review: {0}. Rating:",
            "{0}, which is",
            "They say {0}. That sounds",
        ),
        held_out=(
            "{0}! How was it?",
            "Because {0}, my day was",
            "If {0}, is that good or bad?",
        ),
        contents=_sentiment,
        labels=("good", "bad"),
        most=TABLE,
    ),
}
