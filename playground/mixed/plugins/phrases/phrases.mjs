// The sentences, in every language that this plugin speaks.

const SENTENCES = {
    en: (name, city, degrees) => `Hello, ${name}! It is ${degrees} in ${city}.`,
    fr: (name, city, degrees) => `Bonjour, ${name} ! Il fait ${degrees} à ${city}.`,
    de: (name, city, degrees) => `Hallo, ${name}! In ${city} sind es ${degrees}.`,
};

export const LANGUAGES = Object.keys(SENTENCES);

export function weatherPhrase({ language, name, city, celsius }) {
    const number = new Intl.NumberFormat(language, {
        style: 'unit',
        unit: 'celsius',
        minimumFractionDigits: 1,
        maximumFractionDigits: 1,
    });
    return SENTENCES[language](name, city, number.format(celsius));
}
