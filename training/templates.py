r"""Chat templates of the tiny students, written here, with the turn structure of the real ones.

The turns of both: <|im_start|>role\n...<|im_end|>\n, an image as <|vision_start|><|image_pad|><|vision_end|>. What sets
them apart is what matters to a trainer:

Qwen2.5-VL  puts a system turn of its own where there is none, takes a tool's turn under its own role, and says nothing
            of tools or calls: its student writes calls in the text (`calls: tagged`).
Qwen3-VL    lists the tools in the system turn and lays calls out in <tool_call> tags; what a tool says is a user's
            turn in <tool_response> tags. It takes both forms.
"""

_PARTS = r"""
{%- macro said(content) -%}
    {%- if content is string -%}
        {{ content }}
    {%- else -%}
        {%- for part in content -%}
            {%- if part.type == "image" -%}
                {{ "<|vision_start|><|image_pad|><|vision_end|>" }}
            {%- elif part.type == "video" -%}
                {{ "<|vision_start|><|video_pad|><|vision_end|>" }}
            {%- else -%}
                {{ part.text }}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro -%}
"""

_ASK = r"""
{%- if add_generation_prompt -%}
    {{ "<|im_start|>assistant\n" }}
{%- endif -%}
"""

QWEN2_5_VL = (
    _PARTS
    + r"""
{%- if messages[0].role != "system" -%}
    {{ "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n" }}
{%- endif -%}
{%- for message in messages -%}
    {{ "<|im_start|>" + message.role + "\n" + said(message.content) + "<|im_end|>\n" }}
{%- endfor -%}
"""
    + _ASK
)

QWEN3_VL = (
    _PARTS
    + r"""
{%- set system = said(messages[0].content) if messages[0].role == "system" else "" -%}
{%- if tools -%}
    {{ "<|im_start|>system\n" + (system + "\n\n" if system else "") }}
    {{- "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n" }}
    {{- "You are provided with function signatures within <tools></tools> XML tags:\n<tools>" }}
    {%- for tool in tools -%}
        {{ "\n" + tool | tojson }}
    {%- endfor -%}
    {{ "\n</tools>\n\nFor each function call, return a json object with function name and arguments within " }}
    {{- "<tool_call></tool_call> XML tags:\n<tool_call>\n" }}
    {{- '{"name": <function-name>, "arguments": <args-json-object>}' + "\n</tool_call><|im_end|>\n" }}
{%- elif system -%}
    {{ "<|im_start|>system\n" + system + "<|im_end|>\n" }}
{%- endif -%}
{%- for message in messages -%}
    {%- if message.role == "tool" -%}
        {{ "<|im_start|>user" if loop.first or loop.previtem.role != "tool" else "" }}
        {{- "\n<tool_response>\n" + said(message.content) + "\n</tool_response>" }}
        {{- "<|im_end|>\n" if loop.last or loop.nextitem.role != "tool" else "" }}
    {%- elif message.role != "system" -%}
        {%- set text = said(message.content) -%}
        {{ "<|im_start|>" + message.role + "\n" + text }}
        {%- for made in message.tool_calls or [] -%}
            {%- set call = made.function or made -%}
            {{ "\n" if text or not loop.first else "" }}
            {{- '<tool_call>\n{"name": "' + call.name + '", "arguments": ' }}
            {{- call.arguments if call.arguments is string else call.arguments | tojson }}
            {{- "}\n</tool_call>" }}
        {%- endfor -%}
        {{ "<|im_end|>\n" }}
    {%- endif -%}
{%- endfor -%}
"""
    + _ASK
)
