# ruff: noqa: E501  (a line of the text below is one field of a topic)
"""What posters are about: thirty topics as compact text, read once into records.

Five lines each: names of the subject and the kind of place or thing compared; what it splits into; what is measured
(phrase:unit:low:high, the decimals as written); what gets opened, funded or rebuilt; who is asked, and the pictograms.
No entry holds a fact about the world: all numbers and all proper names are invented per poster.
"""

from dataclasses import dataclass

from dataforge.posters.parts import Measure

_RAW = """
power, electricity, energy | region/regions | {n} Valley; {n} Coast; North {n}; {n} Plain; {n}
Electricity by source: solar; wind; hydro; biogas; coal; nuclear; geothermal; tidal
power used per home:MWh:1.2:14.0; homes with solar roofs:%:8:92; average monthly bill:$:38:240; new turbines::14:260; outage per year:min:12:340; grid staff:k:1.1:9.9
wind park; storage site; substation; smart meter scheme; solar roof programme; heat plant
households | bulb; house; sun
city life, urban living, the city | city/cities | {n}; Port {n}; {n} Falls; New {n}; {n}burg
Trips by mode: on foot; bicycle; bus; tram; metro; car; taxi; ferry
average commute:min:14:78; green space per head:m2:4:58; rent of a small flat:$:320:2400; residents:k:48:960; streets with trees:%:11:94; noise at noon:dB:41:83
city park; tram line; night market; foot bridge; public square; housing block
residents | person; house; tree; car
health, public health, well-being | county/counties | {n}shire; {n} Vale; East {n}; {n} County; {n}
Clinic visits by reason: check-up; vaccination; injury; dental care; eye care; allergy; heart care; physiotherapy
waiting time:days:3:96; people with a family doctor:%:31:97; spending per head:$:210:3900; nurses per clinic::4:48; sleep per night:h:5.2:8.9; clinic visits:k:12:480
clinic; blood bank; walk-in centre; vaccination drive; sports ward; therapy garden
patients | heart; person; drop
food, eating, what we eat | town/towns | {n}; {n} Market; Old {n}; {n}ham; {n}ford
Meals by type: soup; salad; pasta; curry; sandwich; stew; pizza; rice bowl
bread eaten per week:g:240:1900; homes that cook daily:%:22:91; price of a lunch:$:4.10:19.80; food stalls::12:260; food thrown away:kg:11:96; meals delivered:k:3:190
canteen; street food fair; cooking school; seed library; bakery; community kitchen
diners | cup; bottle; fish
sport, amateur sport, exercise | club/clubs | {n} Rovers; {n} United; {n} Athletic; {n} Wanderers; {n} Harriers
Members by sport: running; rowing; swimming; cycling; tennis; handball; archery; climbing
members::120:4800; season ticket:$:25:390; women among members:%:18:72; average age:years:17.5:52.0; distance run per week:km:6:88; fans at home games:k:1.2:38.0
running track; youth academy; stadium roof; climbing wall; summer league; training camp
players | star; person; flag
museums, collections, exhibitions | museum/museums | {n} Museum; {n} Gallery; Museum of {n}; {n} House; {n} Collection
Objects by type: paintings; coins; fossils; textiles; maps; masks; tools; sculptures
visitors:k:12:940; ticket price:$:3.50:29.00; length of a visit:min:28:210; guided tours::90:2900; objects on display:%:2:48; archive shelves:km:0.4:21.0
reading room; fossil hall; print cabinet; roof terrace; night opening; touring exhibition
visitors | coin; book; star
transport, mobility, getting around | line/lines | {n} Line; {n} Express; {n} Loop; {n} Shuttle; {n} Link
Tickets by type: single; day pass; weekly; monthly; yearly; student; senior; group
passengers per day:k:4:310; trains on time:%:61:99; average speed:km/h:18:124; fare:$:1.20:9.80; stops::9:84; time between trains:min:2:45
depot; bus lane; ticket hall; park and ride site; bicycle garage; signal upgrade
commuters | car; person; flag
wildlife, wild animals, nature | reserve/reserves | {n} Reserve; {n} Marsh; {n} Forest; {n} Heath; Lake {n}
Sightings by animal: otter; heron; lynx; beaver; owl; bat; newt; badger
area:km2:12:980; nesting pairs::14:620; water samples rated good:%:35:99; wardens::3:58; entry fee:$:1.50:16.00; trail length:km:4.5:92.0
bird hide; otter crossing; wetland trail; ranger station; fish ladder; seed bank
volunteers | leaf; fish; tree
software, open code, programming | project/projects | {n}DB; {n}Kit; {n}Flow; {n}Lang; {n}OS
Bugs by area: parser; network; display; storage; login; search; install; printing
downloads:k:2:990; tests passed:%:71:99; build time:min:3:94; contributors::8:720; code size:MB:1.4:88.0; yearly grant:$:900:9800
plug-in store; bug bounty; mirror server; code sprint; help forum; release channel
developers | star; cup; bulb
space, missions, the night sky | mission/missions | {n} I; {n} II; {n} Probe; {n} Orbiter; {n} Explorer
Budget by item: launch; antenna; fuel; camera; ground crew; software; shielding; power
mass at launch:kg:240:4900; flight time:days:38:940; cost per seat:$:410:9700; pictures sent:k:1.5:88.0; fuel left:%:4:61; antenna width:m:0.8:7.4
ground station; launch pad; sky camera; moon lander; data archive; test stand
engineers | star; sun; flag
libraries, reading, books | library/libraries | {n} Library; {n} Reading Hall; {n} Branch; {n} Bookhouse; {n} Lyceum
Loans by genre: crime; poetry; travel; history; comics; cookery; science; music
loans:k:9:480; members under 18:%:9:58; yearly fee:$:4:48; opening time per week:h:18:74; reading seats::24:620; longest shelf:m:12:98
reading garden; book bus; sound archive; homework club; night desk; map room
readers | book; person; cup
farming, fields, agriculture | farm/farms | {n} Farm; {n} Fields; {n} Acres; {n} Orchard; {n} Meadow
Land by crop: wheat; barley; maize; potatoes; clover; beets; oats; lentils
harvest:t:48:980; water used per day:m3:12:380; land under organic rules:%:4:96; hired hands::2:74; price per crate:$:3.20:24.50; field size:ha:1.4:38.0
seed barn; milking hall; farm shop; rain basin; cheese cellar; beekeeping course
farmers | leaf; tree; sun; drop
oceans, the sea, coasts | bay/bays | {n} Bay; {n} Sound; Cape {n}; {n} Reef; Gulf of {n}
Catch by species: herring; cod; squid; mussel; shrimp; mackerel; sole; crab
water temperature:C:6.1:28.4; plastic per km of beach:kg:14:480; reef covered by coral:%:5:83; boats registered::22:870; tide range:m:0.4:9.8; swimmers per day:k:0.3:12.0
lighthouse; harbour wall; diving school; tide gauge; coral nursery; beach clean-up
sailors | fish; drop; flag
weather, climate, rain and sun | station/stations | {n} Peak; {n} Airfield; {n} Harbour; Mount {n}; {n} Observatory
Days by sky: clear; hazy; cloudy; rain; drizzle; snow; fog; storm
rain per year:mm:210:2400; hours of sun per year:h:980:3300; frost days:days:4:190; top wind speed:km/h:48:212; mean humidity:%:31:94; height above sea:m:12:2900
rain radar; snow gauge; storm shelter; balloon site; flood gate; weather school
observers | sun; drop; house
schools, learning, education | school/schools | {n} School; {n} Academy; {n} College; St {n}; {n} Grammar
Lessons by subject: maths; music; art; physics; geography; drama; chemistry; languages
pupils::140:2900; pupils who walk:%:12:84; class size::11:34; budget per pupil:$:1400:9800; way to school:min:6:58; homework per week:h:1.5:11.5
science lab; school garden; choir; robotics club; exchange year; sports hall
pupils | book; person; star
water, drinking water, rivers | river/rivers | River {n}; {n} Brook; {n} Beck; {n} Water; Upper {n}
Water use by purpose: showers; laundry; gardens; kitchens; industry; cleaning; cooling; leaks
flow:m3/s:3:480; length:km:18:940; samples without nitrate:%:24:99; price per load:$:1.10:7.60; fish species::6:71; water used per head:l:74:310
water tower; fish pass; pumping station; river bath; filter plant; canal lock
households | drop; fish; bottle
housing, homes, how we live | district/districts | {n} Park; {n} Heights; {n} Quay; {n} Gate; {n} Hill
Homes by size: studio; one room; two rooms; three rooms; four rooms; loft; terrace; cottage
floor space per head:m2:18:74; rent per month:$:380:2900; empty flats:%:0.8:14.5; new homes::45:980; age of buildings:years:9:118; heat used:kWh:52:240
housing co-op; courtyard; heat network; repair shop; roof garden; tenants' office
tenants | house; person; bulb
tourism, travel, holidays | resort/resorts | {n} Spa; {n} Beach; {n} Lodge; {n} Springs; Bad {n}
Guests by season: spring; early summer; high summer; autumn; advent; winter; carnival; Easter
guests:k:4:620; nights per stay:nights:1.4:11.8; beds taken:%:28:97; price of a room:$:41:390; ski lifts::2:58; walk to the sea:min:2:55
cable car; hiking trail; thermal bath; ski school; guest pier; camping ground
guests | sun; flag; cup; house
work, jobs, offices | firm/firms | {n} Works; {n} Partners; {n} & Sons; {n} Industries; {n} Brothers
Staff by field: sales; design; legal; research; logistics; support; finance; repairs
staff::48:6400; hourly wage:$:11.50:64.00; days from home:days:12:180; women in management:%:11:68; paid leave:days:18:39; meetings per week:h:2.5:19.5
day nursery; training centre; design office; canteen; apprentice scheme; repair line
employees | person; cup; coin; car
music, concerts, live music | festival/festivals | {n} Sounds; {n} Festival; {n} Nights; {n} Jazz Days; {n} Open Air
Concerts by style: jazz; folk; opera; techno; choir; blues; brass; swing
tickets sold:k:1.2:84.0; ticket price:$:9:180; bands on stage::8:140; visitors from abroad:%:3:56; longest concert:min:74:310; loudness:dB:78:112
open stage; brass school; record shop; festival train; piano room; sound studio
listeners | star; heart; bottle
money, saving, banks | bank/banks | {n} Bank; {n} Savings; {n} Trust; {n} Credit; Bank of {n}
Spending by purpose: rent; food; clothes; travel; books; sport; gifts; insurance
savings per client:$:480:9700; cash machines::12:740; clients who bank online:%:24:97; branch staff::18:880; loan term:months:9:118; clients:k:4:760
coin museum; branch office; savings week; loan desk; help line; school bank
clients | coin; person; house
forests, trees, woodland | wood/woods | {n} Wood; {n} Grove; {n} Thicket; Great {n}; {n} Pines
Trees by species: oak; beech; spruce; larch; birch; maple; ash; willow
trees planted:k:2:380; oldest tree:years:140:980; share of dead wood:%:2:38; timber sold:m3:180:4900; height of the canopy:m:11.5:48.0; hiking paths:km:6:190
tree nursery; canopy walk; fire tower; forest school; sawmill; charcoal kiln
foresters | tree; leaf; house
waste, recycling, reuse | depot/depots | {n} Depot; {n} Yard; {n} Sorting Hall; {n} Reuse Centre; {n} Works
Waste by material: glass; paper; metal; plastic; wood; textile; compost; batteries
waste per head:kg:120:680; waste recycled:%:12:88; fee per bin:$:2.40:18.60; trucks::6:94; repairs per month::24:960; glass collected:t:38:940
repair cafe; glass bank; swap shop; sorting line; compost heap; bottle scheme
households | bottle; leaf; car
animals at home, pets, dogs and cats | shelter/shelters | {n} Shelter; {n} Kennels; {n} Animal Home; Paws of {n}; {n} Rescue
Pets by kind: cats; dogs; rabbits; parrots; hamsters; turtles; geckos; goldfish
animals taken in::45:980; days until adoption:days:6:120; adoption fee:$:15:280; animals with a chip:%:22:98; walk per day:km:1.2:9.6; food per month:kg:80:940
cat house; dog run; vet room; foster scheme; aquarium; puppy course
owners | heart; fish; house
post, parcels, letters | office/offices | {n} Post; {n} Parcel Hub; {n} Mail; {n} Counter; {n} Dispatch
Parcels by content: books; shoes; toys; wine; medicine; tools; plants; electronics
parcels per day:k:1.4:88.0; delivered next day:%:52:99; postage:$:0.90:14.60; delivery time:h:9:96; carriers::14:580; route length:km:4.2:61.0
parcel locker; stamp shop; sorting belt; cargo bicycle; night counter; return desk
customers | car; house; person
theatre, the stage, drama | theatre/theatres | {n} Playhouse; {n} Theatre; Royal {n}; {n} Stage; {n} Opera
Shows by genre: comedy; tragedy; ballet; musical; puppets; satire; mime; opera
seats::90:2400; seats sold:%:38:99; best ticket:$:18:210; length of a play:min:58:240; premieres::3:41; costumes kept:k:0.4:19.0
puppet stage; costume shop; acting school; revolving stage; youth theatre; open rehearsal
spectators | star; heart; person
factories, industry, making things | plant/plants | {n} Plant; {n} Mill; {n} Foundry; {n} Forge; {n} Assembly
Output by product: bicycles; kettles; lamps; pumps; chairs; radios; ovens; clocks
output:k:3:890; defect rate:%:0.2:7.9; hours per shift:h:5.5:11.5; robots::8:640; cost per unit:$:4:880; steel used:t:28:970
paint shop; robot line; test lab; apprentice workshop; rail siding; solar hall
workers | bulb; coin; car
coffee and tea, hot drinks, the cafe | cafe/cafes | Cafe {n}; {n} Roasters; {n} Tea House; {n} Corner; {n} & Bean
Drinks by type: espresso; latte; mocha; green tea; chai; cocoa; mint tea; cold brew
cups per day::60:980; price of a cup:$:1.40:6.90; beans per month:kg:24:610; guests who stay:%:18:88; seats::8:96; queue at nine:min:1.5:17.5
roasting room; tea garden; cup deposit; reading corner; barista course; pastry counter
guests | cup; leaf; coin
games, play, board games | guild/guilds | {n} Guild; {n} Circle; {n} League; {n} Table; {n} Knights
Games by type: cards; dice; chess; puzzles; quiz; darts; go; dominoes
players registered::38:2900; length of a game:min:14:190; price of a set:$:8:120; games won:%:21:79; tournaments::2:46; puzzle pieces:k:0.5:24.0
game night; dice workshop; chess garden; toy library; puzzle fair; junior cup
players | star; cup; flag
the internet, life online, networks | province/provinces | {n} Province; West {n}; {n} Marches; {n} Isles; South {n}
Time online by activity: video; news; chat; shopping; maps; gaming; learning; banking
download speed:Mbit/s:12:940; homes with fibre:%:6:96; price of a line:$:14:88; time online per day:h:1.2:9.8; masts::24:860; messages per head::18:190
data centre; hotspot map; fibre ring; senior course; radio mast; web archive
users | person; house; bulb
"""


@dataclass(frozen=True)
class Topic:
    """One subject: its names, the kind of thing compared and how those are named, and what can be said of them."""

    names: tuple[str, ...]
    kind: str
    kinds: str
    patterns: tuple[str, ...]
    split: str
    parts: tuple[str, ...]
    measures: tuple[Measure, ...]
    things: tuple[str, ...]
    people: str
    icons: tuple[str, ...]


def _list(text: str, separator: str = ";") -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(separator))


def _measure(text: str) -> Measure:
    name, unit, low, high = text.split(":")
    return Measure(name, unit, float(low), float(high), len(low.partition(".")[2]))


def _topic(lines: list[str]) -> Topic:
    names, kind, patterns = _list(lines[0], "|")
    split, parts = _list(lines[1], ":")
    people, icons = _list(lines[4], "|")
    one, many = kind.split("/")
    return Topic(
        names=_list(names, ","),
        kind=one,
        kinds=many,
        patterns=_list(patterns),
        split=split,
        parts=_list(parts),
        measures=tuple(_measure(text) for text in _list(lines[2])),
        things=_list(lines[3]),
        people=people,
        icons=_list(icons),
    )


def _read() -> tuple[Topic, ...]:
    lines = _RAW.strip().splitlines()
    return tuple(_topic(lines[start : start + 5]) for start in range(0, len(lines), 5))


TOPICS = _read()
