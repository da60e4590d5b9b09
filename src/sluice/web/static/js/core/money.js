// Money as the API gives it: a decimal text and a currency. It is never made a float.
import { number } from "./i18n.js";

export function money({ amount, currency }) {
  const whole = /^-?\d+(\.0+)?$/.test(amount);
  try {
    return number(amount, { style: "currency", currency, currencyDisplay: "narrowSymbol", ...(whole ? { maximumFractionDigits: 0 } : {}) });
  } catch {
    return `${amount} ${currency}`;
  }
}
