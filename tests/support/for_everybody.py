"""What a page in a real browser lacks for somebody: in light or dark, on a phone, by keyboard, with a screen reader."""

PHONES = (390, 320)


def shortcomings(page):
    """What the page that is open lacks, in words; it is loaded and closed again by whoever calls. Details are opened.

    axe-core looks for what WCAG 2.2 and good practice ask for. It reads no text of a chart and nothing behind a tint,
    so contrast is also computed from the colours alone.
    """
    from axe_playwright_python.sync_playwright import Axe

    page.evaluate("() => document.querySelectorAll('details').forEach(each => { each.open = true })")
    found = _by_keyboard(page)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found += [f"{scheme}: {text!r} has a contrast of {ratio:.1f}" for text, ratio in page.evaluate(CONTRAST)]
        for broken in Axe().run(page).response["violations"]:
            where = ", ".join(str(node["target"]) for node in broken["nodes"][:5])
            found.append(f"{scheme}: {broken['id']}: {broken['help']}: {where}")
    size = page.viewport_size
    for width in PHONES:
        page.set_viewport_size({"width": width, "height": 844})
        if (needed := page.evaluate("() => document.documentElement.scrollWidth")) > width:
            found.append(f"it is {needed} pixels wide on a screen of {width}")
    page.set_viewport_size(size)
    return found


def _by_keyboard(page):
    """The controls that Tab does not reach, and those of which nobody sees that they have the focus."""
    count = page.evaluate(WATCH_FOCUS)
    for pressed in range(count + 60):  # a date has stops of its own inside
        page.keyboard.press("Tab")
        if pressed >= count - 1 and pressed % 8 == 0 and not page.evaluate(UNREACHED):
            break
    return page.evaluate(UNREACHED) + page.evaluate("() => window.unseen")


SEEN = """
const isSeen = e => [null, '::after'].some(pseudo => {
  const {outlineStyle, outlineWidth} = getComputedStyle(e, pseudo);
  return outlineStyle !== 'none' && outlineWidth !== '0px'; });
"""

FOCUSED = f"""() => {{ {SEEN}
  const e = document.activeElement;
  return [e.labels?.[0]?.innerText || e.innerText || '', isSeen(e)];
}}"""
"""The words of what has the focus, and whether it can be seen that it has."""

WATCH_FOCUS = f"""() => {{ {SEEN}
  const offered = 'a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex="0"]';
  window.controls = [...document.querySelectorAll(offered)]
    .filter(e => e.checkVisibility({{visibilityProperty: true}}) && !e.disabled && (e.type !== 'radio' || e.checked));
  window.reached = new Set(); window.unseen = [];
  document.activeElement.blur();
  document.addEventListener('focusin', ({{target}}) => {{
    if (!reached.has(target) && !isSeen(target)) unseen.push(`unseen focus: ${{target.outerHTML.slice(0, 120)}}`);
    reached.add(target);
  }});
  return controls.length;
}}"""

UNREACHED = """() => controls.filter(e => !reached.has(e))
  .map(e => `no key leads to ${e.outerHTML.slice(0, 120)}`)"""

# WCAG 2.2, 1.4.3: text against what is behind it, 4.5 to 1.
CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgb = colour => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = ([r, g, b]) => { const [x, y, z] = [r, g, b].map(v => v / 255)
    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * x + .7152 * y + .0722 * z; };
  const behind = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
    if (c[3] === 255) return c; } return [255, 255, 255]; };
  const colour = e => getComputedStyle(e)[e instanceof SVGElement ? 'fill' : 'color'];
  return [...document.querySelectorAll('body *:not(title)')]
    .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) && e.checkVisibility())
    .map(e => { const [a, b] = [light(rgb(colour(e))), light(behind(e))];
      return [e.textContent.trim().slice(0, 30), (Math.max(a, b) + .05) / (Math.min(a, b) + .05)]; })
    .filter(([, ratio]) => ratio < 4.5);
}"""
