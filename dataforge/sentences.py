"""The sentences of the scripted teacher, and how one is drawn.

A thought is two frames, one from each of two lists. In a frame, [a|b] is a choice and {target} a blank. A target may be
singular or plural, so no frame makes it the subject of anything but "can", "may", "must", "should" and the like. No
frame claims to have read what has not been seen, and none speaks of boxes, cuts or annotations.
"""

import random
import re

from dataforge.sentences_video import VIDEO_FRAMES

FRAMES: dict[str, tuple[str, ...]] = VIDEO_FRAMES | {
    # ------------------------------------------------------------ the whole image
    "overview": (
        "[The image|This image] has [many|a lot of] [parts|separate parts], [too fine to tell apart|too small to read]"
        " [at this size|from here|as it stands].",
        "[At first glance|On a first pass|To begin with], [there is more here|this holds more] than [I can|one can]"
        " [take in at once|read at this size].",
        "[Looking at the whole image|Taking the image as a whole|Seen as a whole], I get [the layout|an idea of the"
        " layout|a rough outline], but [hardly any of the details|few of the details|not the fine print].",
        'I am asked: "{question}" [The whole view|A view of everything] [alone is|by itself is] too [coarse|small] for'
        " [that|this].",
        'The question is "{question}" [Most of what is drawn here|Much of the image] [has nothing to do with it|can be'
        " left aside], so I should [narrow it down|be choosy about where to look].",
        "[A quick scan|A first scan|One look over everything] [shows|gives me] the general arrangement; [the small"
        " things|the finer points|the details] [stay blurred|remain out of reach] for now.",
        "[Before answering|First of all|As a start], I [go over|scan|survey] the image from [top to bottom|left to"
        " right|one end to the other] [to find my way|to see what is where].",
        "[The overall arrangement|The general layout|The structure] is [easy to follow|clear enough], though [the"
        " lettering|the smaller print|what is written small] [can't be made out|is hard to read] [yet|so far].",
        "[I see|There are] several [areas|regions|sections] here, and [only one or two of them|just a few of them] can"
        " [matter|be relevant] for [what is asked|this question|the task].",
        "This [needs|asks for|calls for] a [specific|particular] detail, and [the whole image|the full view] [shows too"
        " little|doesn't show enough] of it.",
        "[Everything|All of it] is [in view|visible] [here|at once], [which helps with|good for] orientation [but not"
        " with reading|but bad for reading].",
        "[Let me think about|I first think about|I start from] what the question [wants|needs|is after], and [then"
        " about|next about] where [such a thing|that kind of detail] would [stand|be shown|appear].",
        "[Without|Short of] a closer look I [would only be guessing|could only guess]: the [details|finer details] are"
        " [tiny|very small] [at this scale|from this distance].",
        "[From this distance|At this scale|Seen from afar], [shapes and colours|the big shapes] come through, [small"
        " writing|fine lettering] doesn't.",
    ),
    "where": (
        "[The answer|What I need|What is asked for] should [come from|depend on|be settled by] {target}.",
        "[For this|To answer it|Here] I [want|need|would like] to [see|check|read] {target}.",
        "[My attention|The question] [goes|leads|points] to {target}, and [that calls for|I need] a closer view.",
        "[It seems|I think|I believe] that {target} [must|should|will] [decide this|settle it|tell].",
        "[What counts|What matters] here should be {target}; [from here|at this size] I can't [read|make out] enough.",
        "[I expect|I suppose] that {target} [will|should] [have it|give it|tell me].",
        "[The best place|The natural place|The right place] to [look|check|search] should be {target}.",
        "So {target} [would|should] be [worth a closer look|the thing to look at|what to examine].",
        "[Judging by|Going by] the wording, {target} must be what [the question is about|is meant|I should read].",
        "{Target} should [hold the key|be enough to decide|give the detail that is asked for].",
        "[Nothing else|No other part] [seems|looks] as [relevant|promising] as {target}.",
        "To [be sure|get it right|avoid a guess], I [have to|must|should] [find|read|study] {target}.",
        "[I make a note of|I pick out] {target}, since [the question turns on that|that is what is asked about].",
    ),
    "where_unknown": (
        "[It isn't obvious|I can't tell yet|It is hard to say] where [the answer|the needed detail] [stands|is found].",
        "[Several places|A few places|More than one place] [could|might] [hold it|have it], so I [try|check] them"
        " [in turn|one by one].",
        "[I will have to|I need to|I'll] [search|look around|try a place or two] for [it|the right spot].",
        "[A search|Some searching] [is needed|seems needed], [beginning|starting] with the [likeliest|most promising]"
        " place.",
        "I don't know [yet|so far] [which part|which area] [has it|to trust], so I [begin|start] with a guess.",
        "[Which part|Which place] [tells|answers] this I [still have to|must first] [find out|work out].",
        "[No place|Nothing] [stands out|offers itself] as the one [that settles it|to read], so I [search|explore].",
        "[The first place I try|My first try] may [not be right|be wrong], but [I have to begin somewhere|it is a"
        " start].",
        "[There are|I see] [two or three|several] [candidates|spots] [worth checking|that could be meant].",
        "[I have a hunch|I have an idea] [where to begin|where to start], [but no more than that|though I'm not sure].",
        "[Where exactly|In which corner] [this is shown|the detail hides] [remains to be seen|is still open].",
        "[Finding the place|Getting to the right place] [comes first|is the first step]; [reading|the reading] [comes"
        " after|follows].",
    ),
    "overview_direct": (
        "[The image|This image] is [clear|sharp] enough to [read|work with] [as it is|without a closer look].",
        "[Everything needed|What is needed] is [large enough|big enough] to [read|make out] [from here|right away].",
        "[At this size|Already at this size], [the parts that matter|the relevant parts] are [legible|easy to read].",
        'The question is "{question}" [The whole view|A plain look at the whole] [is enough|will do] for [that|this].',
        "[No closer look|No zoom] [is needed|is necessary] here; the [details|relevant details] are [plain|in view].",
        "[Looking over the whole image|Scanning the image], I can [read|follow] [what it shows|its main parts] well.",
        "[The layout|The arrangement] is [simple|clear], and the [writing|lettering] can be [read|made out] directly.",
        "[I go over|I scan] the [whole image|full view] [first|once], and [nothing important|little] is too small.",
        "[From the full view|In the full view] I can [already see|see at once] what [is asked about|this is about].",
        "[The print|What is written] is [big|large] enough [here|in this view], so I can [answer|decide] directly.",
        "[A single look|One look] at the whole [suffices|is sufficient|does it], as [the details|things] are large.",
        "[Nothing|None of it] has to be [enlarged|magnified]: the [relevant|important] part is [legible|readable].",
    ),
    # ------------------------------------------------------------ why to look there
    "why": (
        "{Target} should [have|hold|show] [what I need|the detail that is asked for|what is asked].",
        "[The next step|The obvious step|What to do now] is to [read|check|study] {target}.",
        "[I want|I need] to [read|see|check] {target} [properly|up close|in detail].",
        "[It makes sense|It is best] to [go straight to|turn to|start from] {target}.",
        "[To be certain|To get this right|To answer], I [should|have to|must] [examine|look at|read] {target}.",
        "[The writing is|The details are] too [small|fine] [from here|so far], so {target} [must|should] be seen [up"
        " close|larger].",
        "[Only|Nothing but] a closer view of {target} [can|will] [settle|decide] [this|the question].",
        "[What is asked|The detail in question] [should|must] be [found|readable] at {target}.",
        "I [look for|go for] {target}, [where|since] the answer [must|should] be [there|in sight].",
        "[My best chance|The surest way] is to [look closely at|have a good look at] {target}.",
        "{Target} can't be [read|made out] [well enough|reliably] in the whole view.",
        "[Since|As] the question [depends|turns] on {target}, [that comes first|I go there].",
        "[I'd like|I want] to [see|know] what {target} [can tell|may say|might give] me.",
    ),
    "why_first": (
        "[I begin|I start] with {target}.",
        "[There are|I see] two places to [compare|read], [and the first should be|beginning with] {target}.",
        "[First|To begin with], I [need|want] to [read|see] {target}.",
        "[One place at a time|One after the other]: [first|I begin with] {target}.",
        "[The first of the places|The first place] to [read|check] should be {target}.",
        "[Before I can compare|Before comparing], I [must|have to] [read|know] {target}.",
        "[This takes|It takes] more than one look, and {target} [should|can] [come first|be the first].",
        "[I can't see everything|I can't read all of it] at once, so [I take|let me take] {target} first.",
        "[Step one|The first step] should be to [read|check|look at] {target}.",
        "[The question|What is asked] needs two [places|parts]; [one|the first] should be {target}.",
        "{Target} should [give|provide] [one half|one part] of [it|the answer].",
        "[For the first half|For one side] of it I [read|check] {target}.",
        "[To have something to compare|To have a starting point], I [look at|read] {target} [first|before the rest].",
    ),
    "why_guess": (
        "{Target} [may|might|could] [be what I need|have it|tell me].",
        "[Perhaps|Maybe|Possibly] {target} [could|might|would] [give|hold|show] the answer.",
        "[One candidate|A first candidate|A possible place] [might|could|may] be {target}.",
        "[I have a feeling|I suspect|My guess would be] that {target} [could|might|may] [help|be meant|tell].",
        "[It is worth|It can't hurt] [checking|trying] {target}.",
        "[A look at|Checking] {target} [might|could|may] [help|settle it|bring me further].",
        "[I can't rule out|I don't want to skip] {target}, so [I check|let me check] [that|there].",
        "[Let me try|I'll try|I want to try] {target}; the [answer|detail] [might|could] be there.",
        "[From afar|At this size], {target} [might|could] [well be|be] what [I need|the question means|is wanted].",
        "[Among the possible places|Of all the places], {target} [might|could] be [likely|a good one|promising].",
        "[The question|What is asked] [could|might|may] [refer|relate] to {target}.",
        "[If I am right|With some luck], {target} [should|would|could] [tell|have it|show what I want].",
        "{Target} [could|might] be [related|relevant] [to this|to what is asked], as far as I can [see|tell].",
    ),
    "why_wide": (
        "[Somewhere around here|Somewhere in this area] I should [find|come upon] {target}.",
        "[First I want|I'd first like] to [see|get] the [area|surroundings] with {target} [in it|inside].",
        "[A wider view|A generous view] around {target} [may|might|could] [be enough|do].",
        "I [begin|start] [with|from] the [larger area|wider part] that should [contain|include] {target}.",
        "{Target} [should|must] [lie|stand|be] [somewhere in that area|in that part of the image].",
        "[To find my bearings|To be safe], I [take in|include] [a good deal|a lot] around {target}.",
        "[Half the image|A big part of the image] [might|may] [do|be enough] to [read|check] {target}.",
        "[I am not sure|I can't tell] how [close|near] I need to get to [read|see] {target}.",
        "[A moderate|A cautious] step [closer|nearer] might [already show|be enough to show] {target}.",
        "[I'd rather not|I don't want to] miss {target}, so I [keep|leave] [plenty of room|a wide margin].",
        "[Roughly|Approximately] in that [direction|area] {target} should [turn up|appear|be found].",
        "[Let me|I'll] [first|at first] [get nearer to|approach] the [area|part] that should hold {target}.",
    ),
    "why_again": (
        "[That leaves|So that leaves|What remains would be] {target}, which I [should have tried|ought to check].",
        "[On second thought|Thinking again|Going back to the question], {target} should be [it|what is meant].",
        "[The better place|A better place|The right place] should be {target}.",
        "[Back to the whole image|Returning to the full view]: {target} must be [what I want|the one].",
        "[Having ruled that out|With that ruled out], I [turn|go] to {target}.",
        "[I was off|I looked in the wrong place]; {target} should [be it|have what I need].",
        "[The question|What is asked] [must|has to] be about {target} [instead|then].",
        "[Reading the question again|Going by its wording again], I should [check|read|find] {target}.",
        "[A more careful|A closer] reading of the question [leads|brings] me to {target}.",
        "[Instead|This time], I should [go|look] for {target}.",
        "{Target} [must|should] be [where|the place where] this is [shown|given|found].",
        "[Now I am fairly sure|I now think|By now I think] that {target} should [decide|settle] it.",
        "[Next|This time] I [choose|pick|go for] {target}, which should [fit|match] the question [better|well].",
    ),
    "why_closer": (
        "[What I need|The detail I need] is [a small part|only a fraction] of this: {target}.",
        "[Within this area|In this part], I [only need|just need] {target}.",
        "[From here|Now] I can [narrow it down|go further down] to {target}.",
        "[I need to get|I have to get] [much closer|a lot nearer] to {target}.",
        "[The area is right|I'm in the right area], so [next comes|now for] {target}.",
        "[Less around it|Less context] and more [detail|size] [is what I need|will help]: just {target}.",
        "[A second|Another] step [closer|nearer] should [bring out|make readable] {target}.",
        "{Target} should be [readable|clear] once [the rest|everything else] is [left out|out of view].",
        "[I keep to this area|I stay in this area] and [single out|pick out] {target}.",
        "[All I want from here|Of all this, all I want] is {target}.",
        "[This was a step in the right direction|The direction is right]; {target} must be seen [larger|closer].",
        "[To read|In order to read] {target}, I [must|have to] [leave out|do without] what lies around.",
    ),
    "why_next": (
        "[The other place|The second place] [that I need|to check] should be {target}.",
        "[Now for|Next comes|Next I need] the other [side|half] of it: {target}.",
        "[To compare|To put the two together], I [also need|still need] {target}.",
        "[Still missing|Missing so far|Left to check]: {target}.",
        "[One place is done|That was one part]; [the question also needs|I also need] {target}.",
        "[The question|What is asked] can't be [settled|answered] without {target} [too|as well].",
        "[On its own|Alone] this isn't enough, so I [turn|go on] to {target}.",
        "[Keeping that in mind|With that in mind], I [go|move] on to {target}.",
        "{Target} [must|should] [give|provide] the [rest|other part] of [it|the answer].",
        "[A second look|Another look] must [go to|be at] {target}.",
        "[I hold on to that|I remember this] and [look for|turn to] {target}.",
        "[The counterpart|The other part of the pair] should be {target}.",
    ),
    # ------------------------------------------------------------ announcing the look
    "zoom": (
        "[I zoom in there|I zoom in on that|I zoom in on it|So I zoom in there].",
        "[Let me zoom in|Let me zoom in there|Let me zoom in on that part].",
        "[I'll zoom in|I will zoom in] [there|on that spot|on that part] [to see|to find out|and see].",
        "[Zooming in|A zoom on that part|A zoom on that spot] [should|will|ought to] [help|show more|clear it up].",
        "[Time|It is time] to zoom in [there|on that part|on that spot].",
        "[Next|Now], I zoom in [there|on that part|on that area] [and read|for a better view|to read].",
        "[So|Therefore] I [magnify|enlarge] [that part|that area|that spot].",
        "I [take|need] a closer look [there|at that part|at that spot] [now|next|by zooming in].",
        "[Let me|I'll] [magnify|enlarge|zoom in on] [that area|that part] [to read it|for the details].",
        "[I go closer|I move closer|I get closer] and zoom in [on that part|there].",
        "A zoom [there|on that place|on that area] [is the way to go|should do|comes next].",
        "[I bring that part closer|I bring that area closer|I look closer there] [with a zoom|by zooming in].",
        "[That is why|Which is why] I zoom in [there|on that part|on that area] [now|next].",
    ),
    "zoom_closer": (
        "[I zoom in further|So I zoom in further|Let me zoom in further].",
        "[I zoom in once more|I zoom in again|Let me zoom in once more], [closer this time|this time closer].",
        "[Another zoom|A second zoom|A further zoom] [should|will|ought to] [do it|make it readable|bring it out].",
        "[Zooming in|Going] [further|deeper] [should|will] [show|bring out] the [details|print].",
        "[I'll|Let me] [go|move] [one step|a step] closer [and zoom in there|with another zoom].",
        "[Next|Now], I zoom in [from here|on just that part|further still].",
        "[One more zoom|One zoom more] [is needed|should be enough|will help].",
        "I [tighten|narrow] the view [there|around that] [and zoom in|by zooming in].",
        "[So|Therefore] I [enlarge|magnify] [just that part|only that part] [now|next].",
        "[It takes|This takes] [another|a further|a second] zoom, [right there|on that spot].",
        "I [zoom in|go in] [much|a lot|far] [tighter|closer] [there|on that part].",
        "[Let me|I'll] [focus on|zoom in on] [that spot alone|that part alone].",
    ),
    # ------------------------------------------------------------ what a look shows
    "seen_wrong": (
        "[This|What I see here] [shows|turns out to show] {target}.",
        "[Here|In this view] I [find|see|get] {target}.",
        "[This part|This area|The view] [has|holds|contains] {target}.",
        "[I am looking at|Now I am looking at|I seem to be looking at] {target}.",
        "[Now|Up close] I can [see|make out] {target}.",
        "[So this is|This here is] the part with {target}.",
        "[The zoom|Zooming in] [brought up|brought me] {target}.",
        "[In front of me|Before me|On view] I now have {target}.",
        "[What came up|What I got] [with this look|from this look] [would be|must be] {target}.",
        "[Seen closer|Enlarged], [this part|this spot] [deals with|shows|has] {target}.",
        "[This look|That look] [landed on|led to|got me] {target}.",
        "[I have found|I have come upon|I ended up at] {target}.",
    ),
    "seen_elsewhere": (
        "[This is|What I see is] [another|a different] [part|area] of the image.",
        "[This part|This area] [has to do with|deals with|belongs to] something else.",
        "[The zoom|This look] [landed|ended up] [beside|next to] what I was after.",
        "[Up close|Enlarged], this [turns out to be|is] [another thing|something different].",
        "[Here|In this view] [I find|there are] other things than [I expected|I had hoped].",
        "[So this is what|Now I see what] [is shown|can be seen] [here|in this part].",
        "[I now see|Now I can see] this [part|area] [well|clearly].",
        "[This part|This spot] is [clear|legible] now, [but|yet] not what I [hoped|expected].",
        "[Seen closer|From close by], this [area|part] [has|holds] [other|different] [details|things].",
        "[I take in|I go over] what [this part|this view] [shows|has to offer].",
        "[What came up|What I got] is [a neighbouring|another|an unrelated] [part|area].",
        "[I have|I've] [picked|found] [a part|an area] with a [different|separate] subject.",
    ),
    "misses": (
        "[It|This] [says nothing|tells me nothing] about [what is asked|the question], so I [go on|keep looking].",
        "[That isn't|This isn't] what [I need|the question is about]; I [have to|must] [look elsewhere|search on].",
        "[Nothing here|None of this] [answers|helps with] the question, so [this was the wrong place|I was wrong].",
        "[The question is about something else|I was after something else], so I [should|must] look [elsewhere|again].",
        "[Interesting, but beside the point|That is beside the point]: the [detail|thing] I want isn't [here|in it].",
        "[Wrong place|The wrong place|A wrong guess]: [what I look for|the needed detail] [is missing|isn't here].",
        "I [misjudged|was mistaken about] [the place|where to look], and [have to try|need] [another|a different] one.",
        "[It has|There is] no [trace|sign|mention] of [what I want|what is asked], so [back to the search|I move on].",
        "[That doesn't|This doesn't] [help|answer it|settle it], so [the search goes on|I try somewhere else].",
        "[However|But] it [doesn't match|isn't connected with] [the question|what is asked], so I [drop it|leave it].",
        "[What I was hoping for|What I hoped to find] [isn't there|didn't turn up]; [it must be somewhere else|another"
        " place must have it].",
        "[I can't use this|This is of no use|This won't do], [as|since] the question is about something else.",
        "[My guess|The guess] was [off|wrong|not right], and I [need|want] to look [at another part|elsewhere].",
    ),
    "seen_large": (
        "[This area|This part] should [contain|include|take in] {target}, [among much else|with a lot around].",
        "[Somewhere in here|Somewhere in this view] {target} must be [hiding|found].",
        "[I am in the right area|The area is right], and {target} must be [in it|in here].",
        "[This view|What I see] [takes in|covers] {target}, [but also|and] [far too much|a great deal] [besides|more].",
        "[The zoom|This look] [was|is] in the right [direction|area]: {target} should be in [here|it].",
        "{Target} should be in [here|this view], [surrounded by|in the middle of] [many other things|a lot more].",
        "[It is closer|I am closer] than [before|at first], and {target} must be [within|inside] this.",
        "[The place seems right|This seems to be the right place], with {target} [somewhere inside|in it].",
        "[Roughly the right part|About the right part] of the image: {target} must be in [it|here].",
        "[Now|Here] I have the [surroundings|neighbourhood] of {target}.",
        "[Much of this|Most of this] [lies around|only surrounds] {target}.",
        "[There is|I see] a lot [here|in this view], {target} [included|presumably included].",
    ),
    "too_small": (
        "[The print|The writing|What I want] is [still|yet] too [small|fine|tiny] to [read|make out].",
        "[There is too much around it|Too much is in view], so the [details|letters] [stay|remain] [small|unclear].",
        "[At this size|Like this] I [still can't|can't yet] [read|make out] [what matters|the details].",
        "[The view is|This is] [far|much] too [wide|broad|large] to [read|tell] anything [reliably|with certainty].",
        "[I took in|I included] [too much|far too much]; the [letters|details] are [barely|hardly] [legible|readable].",
        "[Reading from here|An answer from here] would be [guesswork|a guess], [it is|things are] too small.",
        "[I am not close enough|This isn't close enough] [yet|by far]: the [fine|small] print [blurs|runs together].",
        "[The details|The fine points] [don't come out|aren't clear] [yet|so far]; [it is|the view is] too wide.",
        "[Not close enough|Still not close enough], [though|but] [I know where to go|the way is clear].",
        "[I can't trust|I don't trust] a reading at this [size|scale]; [it has|things have] to be larger.",
        "[The zoom|The look] was too [timid|cautious|wide], and [little|not much] can be read [in it|like this].",
        "[That is more|It is more] than I [need|want], and [too little of it is|hardly any of it is] [legible|clear].",
    ),
    "seen_first": (
        "[The first place is clear|This place is clear]: I can [read|see] {target}.",
        "[Now|Here] I can [read|make out] {target} [well|clearly|without trouble].",
        "[This shows|This gives me|Here I get] {target}, [large enough to read|legible now].",
        "[I read off|I take down|I note] what {target} can tell [me|here].",
        "[Up close|Enlarged], {target} can be [read|made out|checked] [easily|well].",
        "[That is|This gives] [one half|one part] of what I need: {target}.",
        "{Target} can now be [read|checked|made out].",
        "[Good|Fine], [this view|this] [has|shows] {target}.",
        "[I have|Now I have] {target} in [full view|sight], [sharp enough to read|and can read the details].",
        "[The zoom|This look] [worked|paid off]: {target} can be [read|made out].",
        "[One place|One spot] [found|settled], [namely|and that was] {target}.",
        "[What is written|What is shown] at {target} can be [read|seen] [now|here].",
    ),
    "keep": (
        "[I keep this in mind|I remember that], [since|as] the question [needs more|asks for more].",
        "[That alone|This alone] [doesn't settle|can't answer] the question [yet|so far].",
        "[It is|This is] [only|just] [part|one half] of [what is asked|the matter].",
        "[I hold on to this|I make a note of it] and [go on|continue].",
        "[One piece|The first piece] is [in hand|found], [another|the other] is [missing|still open].",
        "[So far so good|Good so far], but [there is|I need] something to [set beside it|compare it with].",
        "[With this noted|Having noted this], I [need|want] the [other|second] [piece|part].",
        "[The rest|What else is needed] [stands|must be] [elsewhere|in another place].",
        "[Before I conclude|Before deciding], [another place|one more place] [must|has to] be [read|checked].",
        "[I can't decide|I can't answer] [yet|from this alone], [as|since] [it takes two|two places are needed].",
        "[The question|What is asked] [involves|takes in] more than [this|this one place].",
        "[This is one side|That is one side] of it; [the other|another] [follows|comes next].",
    ),
    # ------------------------------------------------------------ reading and answering
    "reading": (
        "[Now|Here|At this size] {target} can be [read|made out|seen] [clearly|well|without doubt].",
        "[This view|The view] [shows|gives me] {target} [large enough to read|in readable size|up close].",
        "[This is it|There it is|Here it is]: I can [read|see] {target}.",
        "[Up close|Enlarged like this], {target} can [finally|now|easily] be [read|checked].",
        "[I can now read|I now see|Now I read] {target} [in detail|properly|clearly].",
        "[With the details legible|With everything legible], I [go through|read] {target} [with care|carefully].",
        "[The zoom|This look] [shows exactly what I needed|brought what I needed]: {target}.",
        "[What is written|What is shown] [at|for] {target} can be [read|seen] [now|here].",
        "[I find|I have found] {target} [here|in this view], and [the details are sharp|it is all legible].",
        "[The details|The particulars] of {target} [have become|are now] [clear|legible|readable].",
        "[Looking closely at|Reading|Going over] {target}, I [find|get|see] [what is asked for|what I need].",
        "[Now there is no doubt|Now it is plain]: {target} can be [read|seen] [directly|in full].",
        "{Target} can be [seen|read] [here|now] [without guessing|with certainty|clearly].",
    ),
    "reading_direct": (
        "[In the whole image|In the full view], {target} can be [read|seen|made out] [directly|clearly|well].",
        "[I read|I look at|I check] {target} [directly|straight away|right here].",
        "[There it is|Here it is]: {target}, [large enough to read|legible as it stands].",
        "{Target} can be [read|checked|made out] [from here|as it is|without a zoom].",
        "[Going straight to|Turning to|Looking at] {target}, I can [read it all|see what is asked|read what I need].",
        "[The details|The particulars] of {target} [are|are all] [plain|clear|readable] [already|from here].",
        "[All I need|What I need] is {target}, and [that can be read|I can read that] [from here|directly].",
        "[I find|I see] {target} [at once|easily|right away].",
        "[Reading|Checking] {target} [gives|settles] [it|what is asked].",
        "[What is shown|What is written] at {target} [is|is all] [clear|readable] [enough|as it stands].",
        "[I turn to|I go to] {target} and read [what is there|what is given|carefully].",
        "[It takes|This takes] only {target}, which I can [read|see] [here|well].",
    ),
    "reading_second": (
        "[Now|Here] {target} can be read [too|as well], so I have [both|all] [places|parts].",
        "[That completes it|This completes the picture]: {target} can be [read|seen] [clearly|here].",
        "[With|Together with] what I [read|saw] [before|first], {target} [should|will|can] [settle|decide] it.",
        "[The missing piece|The other piece] [has turned up|is here]: {target}.",
        "[I read|I check] {target} and [set it beside|compare that with] what I [saw|read] [before|first].",
        "[Having seen|Having read] the [first|other] place, I now [read|have] {target}.",
        "[Both|All] [places|parts] are [read|known] now, {target} being the [last|final] one.",
        "[Up close|Enlarged], {target} can be [read|made out], and I can [put things together|combine the two].",
        "[This gives|Here I get] {target}, [which makes|and that makes] a comparison [possible|easy].",
        "[I now have|Now I have] {target} [as well|too], and can [weigh|compare] [the two|what I have read].",
        "{Target} can be read [here|now], [next to|beside] what I [noted|read] [earlier|before].",
        "[The second look|This look] [shows|brings] {target}, and [nothing is missing|that is all I need].",
    ),
    "so": (
        "[So|Hence|Therefore] the answer is {answer}.",
        "[From this|From that], the answer [is|must be] {answer}.",
        "[That gives|This gives|It gives] {answer}[ as the answer| for the question|, which answers the question].",
        "[The answer|My answer], [then|therefore], is {answer}.",
        "[It follows|This means|That means] that the answer is {answer}.",
        "[What is asked for|What the question asks for] is {answer}.",
        "[I read|I get|I find] {answer}, [which is what was asked|and that is the answer|so that is my answer].",
        "[That settles it|This settles the question|With that it is settled]: {answer}.",
        "[Going by this|Going by that|By this], I answer {answer}.",
        "[The result|What I get|What I arrive at], then, is {answer}.",
        "[I conclude|I can conclude] that [it is|the answer is] {answer}.",
        "[It comes to|This comes to|That comes to] {answer}, [the answer|which is the answer] [I was after|asked for].",
        "[No doubt remains|I am confident now|That is clear]: [it is|the answer is] {answer}.",
    ),
    "so_option": (
        'It [says|shows|gives] "{option}", [so|hence] the answer is {letter}.',
        '[That|This] [matches|agrees with|corresponds to] "{option}", [which is|that is] option {letter}.',
        '[Among the options|Of the options], "{option}" [fits|matches], and that is {letter}.',
        '[So|Therefore|Hence] it is "{option}", option {letter}.',
        '[From this|From that], "{option}" is [right|correct], which [makes it|means] {letter}.',
        '[The option that fits|The fitting option] is "{option}", [so I choose|so I answer|that is] {letter}.',
        '[I compare|I check] [this|that] with the options: "{option}" [agrees|fits], so it is {letter}.',
        '[What I read|What I see] is "{option}", [listed as|given as|under] {letter}.',
        'It [must|has to] be "{option}", so [I pick|the letter is|the choice is] {letter}.',
        '[This leaves|That leaves] "{option}", and [so|with that] option {letter}.',
        '[The answer|My answer] is "{option}", [which is|that is|being] {letter}.',
        '[It can only be|It has to be] "{option}"; [the letter for that|its letter] is {letter}.',
    ),
    # ------------------------------------------------------------ what a place without a name is called
    "unnamed": (
        "the part that the question is about",
        "the area that matters here",
        "the spot with the decisive detail",
        "the part to read",
        "the small area in question",
        "the relevant spot",
        "the detail that is asked about",
        "the part with the needed detail",
    ),
    "named_before": (
        "that part",
        "that place",
        "that very spot",
        "this part of the image",
        "that area",
        "just that place",
    ),
    "unnamed_guess": (
        "a part that catches the eye",
        "one of the busier parts",
        "a likely looking part",
        "a part that I haven't seen up close",
        "a promising area",
        "another area with some detail",
        "a part with a good deal in it",
        "one of the areas further off",
    ),
}

CHOICE = re.compile(r"\[([^\[\]]*)\]")


def draw(rng: random.Random, frames: str, **blanks: str) -> str:
    """One sentence from a list of FRAMES, its choices made and its blanks filled."""
    frame = CHOICE.sub(lambda choice: rng.choice(choice[1].split("|")), rng.choice(FRAMES[frames]))
    if "target" in blanks:
        blanks["Target"] = blanks["target"][:1].upper() + blanks["target"][1:]
    filled = frame.format(**blanks)
    # an answer or a question may bring its own full stop
    return re.sub(r"(?<!\.)([.?!])\.(?=\s|$)", r"\1", filled)


def count(frames: str) -> int:
    """How many different sentences a list gives, before its blanks are filled."""
    total = 0
    for frame in FRAMES[frames]:
        ways = 1
        for choice in CHOICE.findall(frame):
            ways *= len(choice.split("|"))
        total += ways
    return total
