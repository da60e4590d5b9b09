// The words that every page has.
import { register } from "./core/i18n.js";
import en from "../words/en/core.js";
import zh from "../words/zh/core.js";

register({ en, zh });
