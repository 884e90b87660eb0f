"""What everybody knows about some of the objects: uses, occasions, and where animals live."""

# purpose, and why it serves: a clause that fits after both `it` and `they`
USES = {
    "umbrella": ("stay dry in the rain", "can keep the rain off"),
    "key": ("open a lock", "can turn a lock"),
    "scissors": ("cut paper", "can cut"),
    "hammer": ("drive in a nail", "can hit a nail hard"),
    "wrench": ("tighten a bolt", "can turn a bolt"),
    "flashlight": ("see in the dark", "can give light"),
    "candle": ("light a room without power", "can burn with a small flame"),
    "light bulb": ("light up a lamp", "can turn power into light"),
    "camera": ("take a photo", "can record a picture"),
    "pencil": ("write a note", "can leave marks on paper"),
    "book": ("read a story", "can hold many pages of text"),
    "phone": ("call a friend", "can reach people far away"),
    "laptop": ("write an email", "can send and receive messages"),
    "television": ("watch a film", "can show moving pictures"),
    "radio": ("listen to the news", "can receive broadcasts"),
    "headphones": ("listen to music alone", "can play sound close to the ears"),
    "microphone": ("make a voice louder", "can pick up sound"),
    "megaphone": ("shout to a crowd", "can make a voice louder"),
    "clock": ("wake up in time", "can ring at a set hour"),
    "watch": ("know the time on the way", "can show the time on a wrist"),
    "bed": ("sleep", "can hold someone who lies down"),
    "couch": ("sit with friends", "can seat several people"),
    "bathtub": ("take a bath", "can be filled with water"),
    "tent": ("sleep outdoors", "can shelter people"),
    "backpack": ("carry things on the back", "can hold many things"),
    "handbag": ("carry a purse and a phone", "can hold small things"),
    "magnifying glass": ("look at something tiny", "can make small things look larger"),
    "microscope": ("look at cells", "can make very small things visible"),
    "telescope": ("look at the planets", "can make far things look near"),
    "padlock": ("lock a gate", "can hold it shut"),
    "glasses": ("see more sharply", "can correct weak eyes"),
    "sunglasses": ("protect the eyes from the sun", "can dim bright light"),
    "anchor": ("keep a ship in its place", "can hold on to the ground"),
    "traffic light": ("guide traffic at a crossing", "can tell cars to stop or go"),
    "pill": ("treat an illness", "can hold medicine"),
    "palette": ("paint a picture", "can hold many colours"),
    "fire": ("keep warm", "can give heat"),
    "envelope": ("send a letter", "can hold a letter"),
    "package": ("send a present by post", "can protect what is inside"),
    "shield": ("be protected in a fight", "can stop a blow"),
    "bell": ("call people together", "can ring loudly"),
    "door": ("enter a room", "can open and close"),
}

OCCASIONS = {
    "a birthday party": {"cake", "balloon", "gift", "candle"},
    "a ball game": {"soccer ball", "baseball", "basketball", "football"},
    "a boxing match": {"boxing glove"},
    "a concert": {"guitar", "violin", "trumpet", "drum", "microphone"},
    "a camping trip": {"tent", "backpack", "flashlight", "fire"},
    "a school day": {"book", "pencil", "graduation cap"},
    "a winter day outside": {"snowman", "snowflake"},
    "Christmas": {"christmas tree"},
    "a wedding": {"ring", "dress"},
    "an evening of games": {"dice", "game controller"},
    "a trip to the cinema": {"popcorn"},
    "a sunny day at the sea": {"sun", "sunglasses", "palm tree", "ice cream"},
    "breakfast": {"coffee", "croissant", "egg", "bread", "pancakes", "honey"},
    "a quick dinner": {"pizza", "hamburger", "fries", "taco"},
    "some repair work": {"hammer", "wrench"},
    "a prize giving": {"trophy"},
}

_SEA = ("In the sea", "a sea animal")
_FARM = ("On a farm", "a farm animal")
_FOREST = ("In a forest", "a forest animal")
_SAVANNA = ("On the savanna", "a wild animal of warm, grassy lands")
_HOUSE = ("In a house with people", "a pet")
_GARDEN = ("In a garden", "a small animal that lives among plants")
_POND = ("By a pond", "an animal that likes water")
HOMES = {
    **dict.fromkeys(("whale", "dolphin", "shark", "octopus", "crab", "fish"), _SEA),
    **dict.fromkeys(("cow", "pig", "sheep", "horse", "chicken", "chick"), _FARM),
    **dict.fromkeys(("fox", "bear", "owl"), _FOREST),
    **dict.fromkeys(("lion", "elephant"), _SAVANNA),
    **dict.fromkeys(("dog", "cat"), _HOUSE),
    **dict.fromkeys(("snail", "butterfly", "ant", "bee", "ladybug", "spider"), _GARDEN),
    **dict.fromkeys(("frog", "duck"), _POND),
    "camel": ("In the desert", "an animal that can go without water for long"),
    "penguin": ("In the cold south", "a bird that swims in icy water"),
    "koala": ("In Australia", "an animal that eats eucalyptus leaves"),
    "panda": ("In China", "an animal that eats bamboo"),
    "monkey": ("In the jungle", "an animal that climbs trees"),
    "tiger": ("In the jungle", "a big cat that hunts among trees"),
    "bat": ("In a cave", "an animal that sleeps by day in the dark"),
    "crocodile": ("In a warm river", "a reptile that hunts in water"),
    "bird": ("In a tree", "an animal that builds nests"),
}
