/** Words of the views. The shell gives its translator; the standalone page speaks English. */

export type Translate = (text: string, ...values: string[]) => string;

export const plain: Translate = (text, ...values) => text.replace(/%(\d)/g, (_, i) => values[Number(i) - 1] ?? '');
