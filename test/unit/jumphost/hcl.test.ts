/** That Terraform reads these texts back is shown in test/interop/terraform.test.ts. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { hclHeredoc, hclString } from '../../../src/jumphost/hcl.ts';

const D = '$';

describe('hclString()', () => {
  for (const [text, expected] of [
    ['public', '"public"'],
    ['', '""'],
    ['a "b" \\c', '"a \\"b\\" \\\\c"'],
    [`${D}{a} %{b}`, `"${D}${D}{a} %%{b}"`],
    // The introducer is the last of several.
    [`${D}${D}{a} ${D}${D}${D}{b} %%{c}`, `"${D}${D}${D}{a} ${D}${D}${D}${D}{b} %%%{c}"`],
    [`${D}a % { ${D}`, `"${D}a % { ${D}"`],
    ['a\nb\tc\u0000', '"a\\U0000000ab\\U00000009c\\U00000000"'],
    ['\u202ea\u2028', '"\\U0000202ea\\U00002028"'],
    ['Netz für 网络 😀', '"Netz für 网络 😀"'],
  ] as const) {
    it(`writes ${JSON.stringify(text)} as ${expected}`, () => {
      assert.equal(hclString(text), expected);
    });
  }
});

describe('hclHeredoc()', () => {
  it('keeps a text as it is, except templates', () => {
    const text = `a "b" \\n\n  ${D}{c} %{d} ${D}(e) ${D}f\n\n`;
    assert.equal(
      hclHeredoc(text, 'END'),
      `<<END\na "b" \\n\n  ${D}${D}{c} %%{d} ${D}(e) ${D}f\n\nEND`,
    );
  });

  it('ends with a line that the text does not have', () => {
    assert.equal(hclHeredoc('END\n  END_ \n', 'END'), '<<END__\nEND\n  END_ \nEND__');
  });
});
