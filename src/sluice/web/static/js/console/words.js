// The words of the console, and those of logging in.
import { register } from "../core/i18n.js";
import shopEn from "../../words/en/shop.js";
import shopZh from "../../words/zh/shop.js";
import en from "../../words/en/console.js";
import zh from "../../words/zh/console.js";

register({ en: shopEn, zh: shopZh });
register({ en, zh });
