/** A piece of HTML that is safe to put into a page. */
export class Html {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

type Part = Html | string | number | undefined | false | readonly Part[]

/** HTML whose values are shown as text, unless they are HTML themselves. */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Html {
  return new Html(strings.map((text, i) => text + format(parts[i])).join(''))
}

function format(part: Part): string {
  if (part === undefined || part === false) return ''
  if (part instanceof Html) return part.text
  if (typeof part === 'string' || typeof part === 'number') return escapeHtml(String(part))
  return part.map(format).join('')
}

/**
 * Text for an element or a quoted attribute. What no reader would see is made visible: control
 * characters, and those that turn the direction of the text.
 */
function escapeHtml(text: string): string {
  return text
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, (character) =>
      character === '\n' ? ' ' : `\\u{${character.codePointAt(0)?.toString(16)}}`,
    )
    .replace(/[&<>"'`]/g, (character) => `&#${character.charCodeAt(0)};`)
}
