"""The little the simulation knows by heart: a phrasebook, and jokes.

Data only. The one rule: nothing here pretends to be longer than it is; what is not in it is answered
by saying so.
"""

from __future__ import annotations

from collections.abc import Mapping

LANGUAGES = ("English", "French", "German", "Spanish", "Italian", "Portuguese", "Dutch")

_ROWS = (
    (
        "I love programming.",
        "J'adore la programmation.",
        "Ich liebe das Programmieren.",
        "Me encanta programar.",
        "Adoro programmare.",
        "Eu adoro programar.",
        "Ik hou van programmeren.",
    ),
    ("Hello!", "Bonjour !", "Hallo!", "¡Hola!", "Ciao!", "Olá!", "Hallo!"),
    (
        "Good morning.",
        "Bonjour.",
        "Guten Morgen.",
        "Buenos días.",
        "Buongiorno.",
        "Bom dia.",
        "Goedemorgen.",
    ),
    (
        "Good night.",
        "Bonne nuit.",
        "Gute Nacht.",
        "Buenas noches.",
        "Buonanotte.",
        "Boa noite.",
        "Goedenacht.",
    ),
    (
        "Goodbye!",
        "Au revoir !",
        "Auf Wiedersehen!",
        "¡Adiós!",
        "Arrivederci!",
        "Adeus!",
        "Tot ziens!",
    ),
    (
        "How are you?",
        "Comment allez-vous ?",
        "Wie geht es Ihnen?",
        "¿Cómo está usted?",
        "Come sta?",
        "Como está?",
        "Hoe gaat het met u?",
    ),
    (
        "Thank you very much.",
        "Merci beaucoup.",
        "Vielen Dank.",
        "Muchas gracias.",
        "Grazie mille.",
        "Muito obrigado.",
        "Hartelijk dank.",
    ),
    (
        "What is your name?",
        "Comment vous appelez-vous ?",
        "Wie heißen Sie?",
        "¿Cómo se llama usted?",
        "Come si chiama?",
        "Como se chama?",
        "Hoe heet u?",
    ),
    (
        "I do not understand.",
        "Je ne comprends pas.",
        "Ich verstehe nicht.",
        "No entiendo.",
        "Non capisco.",
        "Não entendo.",
        "Ik begrijp het niet.",
    ),
    (
        "Where is the station?",
        "Où est la gare ?",
        "Wo ist der Bahnhof?",
        "¿Dónde está la estación?",
        "Dov'è la stazione?",
        "Onde fica a estação?",
        "Waar is het station?",
    ),
    (
        "I would like a coffee.",
        "Je voudrais un café.",
        "Ich hätte gern einen Kaffee.",
        "Quisiera un café.",
        "Vorrei un caffè.",
        "Eu gostaria de um café.",
        "Ik wil graag een koffie.",
    ),
    (
        "The weather is beautiful today.",
        "Il fait beau aujourd'hui.",
        "Das Wetter ist heute schön.",
        "Hoy hace buen tiempo.",
        "Oggi il tempo è bello.",
        "Hoje o tempo está bonito.",
        "Het weer is vandaag mooi.",
    ),
    (
        "The cat is on the table.",
        "Le chat est sur la table.",
        "Die Katze ist auf dem Tisch.",
        "El gato está sobre la mesa.",
        "Il gatto è sul tavolo.",
        "O gato está em cima da mesa.",
        "De kat ligt op de tafel.",
    ),
)

PHRASES: tuple[Mapping[str, str], ...] = tuple(dict(zip(LANGUAGES, row, strict=True)) for row in _ROWS)

BEAR_JOKE = {
    "setup": (
        "Three bears walk into a small diner just before closing time. The first bear studies the menu "
        "for an hour, sighs, and orders porridge. The second bear sniffs at the kitchen "
        'door, growls "not again", and orders porridge too. The third bear, the smallest of them, climbs '
        'on a stool and waits. At last the waiter asks: "And for you?" The little bear says: "I would '
        'like ...", counts the lamps, and, after the longest silence that '
        'diner had ever heard: "... a honey sandwich."\n'
        '"Of course," says the waiter. "But why the big pause?"'
    ),
    "punchline": (
        'The little bear looks down, turns both of them over and says: "I do not know. I was born with '
        'them.\nYou should see what my father has at the end of his arms!"'
    ),
}

SHORT_BEAR_JOKE = {
    "setup": "What do you call a bear with no teeth?",
    "punchline": "A gummy bear.",
}

JOKE = {
    "setup": (
        'A man walks into a library, goes straight to the desk and says: "I need everything you have '
        'about {topic}." The librarian nods, disappears between the shelves, and comes back with one '
        'thin book. "Is that all?" says the man. "I have been thinking about {topic} for twenty years!" '
        "The librarian puts on her glasses, opens the book at the first page, reads it slowly to the "
        "end, turns it over, reads the back as well, closes it, and looks at him for a long time.\n"
        '"Twenty years," she says. "And what have you found out?"'
    ),
    "punchline": (
        "The man looks left, looks right, leans over the desk and whispers: "
        '"That nobody who really knows about {topic} would have asked."\n'
        '"Correct," says the librarian, and stamps the book. "It is due back in twenty years."'
    ),
}

SHORT_JOKE = {
    "setup": "What does a simulation know about {topic}?",
    "punchline": "Just enough to fill two arguments of a tool call.",
}
